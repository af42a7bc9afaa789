package disk_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/spire-raft/spire-raft/raftstore/internal/disk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFree(t *testing.T) {
	if n, err := disk.Free(t.TempDir()); n == 0 || err != nil {
		t.Errorf("free %d, %v", n, err)
	}
	if n, err := disk.Free(filepath.Join(t.TempDir(), "missing")); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("free %d, %v", n, err)
	}
}

// fakeDisk has the space it is told to have.
type fakeDisk struct {
	mu   sync.Mutex
	free uint64
	err  error
}

func (d *fakeDisk) set(free uint64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.free, d.err = free, err
}

func (d *fakeDisk) measure(string) (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.free, d.err
}

func TestWatcher_LowWithHysteresis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d fakeDisk
		d.set(1000, nil)
		var changes []string
		w, err := disk.Watch(disk.Config{
			Dir: "d", ReserveBytes: 100, Free: d.measure,
			OnChange: func(low bool, free uint64) { changes = append(changes, fmt.Sprint(low, free)) },
		})
		if err != nil {
			t.Fatal(err)
		}
		for i, step := range []struct {
			free uint64
			low  bool
		}{{1000, false}, {100, false}, {99, true}, {100, true}, {124, true}, {125, false}, {100, false}, {0, true}, {1 << 60, false}} {
			d.set(step.free, nil)
			time.Sleep(time.Second)
			synctest.Wait()
			if w.Low() != step.low || w.Free() != step.free {
				t.Errorf("step %d: low %v, free %d, want %+v", i, w.Low(), w.Free(), step)
			}
		}
		w.Close()
		w.Close()
		want := []string{"true 99", "false 125", "true 0", "false 1152921504606846976"}
		if !reflect.DeepEqual(changes, want) {
			t.Errorf("told %v, want %v", changes, want)
		}
	})
}

func TestWatcher_LowFromTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d fakeDisk
		d.set(99, nil)
		w, err := disk.Watch(disk.Config{ReserveBytes: 100, Free: d.measure, OnChange: func(bool, uint64) { t.Error("told of no change") }})
		if err != nil {
			t.Fatal(err)
		}
		if !w.Low() {
			t.Error("not low")
		}
		time.Sleep(10 * time.Second)
		w.Close()
	})
}

func TestWatcher_Interval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var looks []time.Duration
		w, err := disk.Watch(disk.Config{Interval: time.Minute, Free: func(string) (uint64, error) {
			looks = append(looks, time.Since(start))
			return 1, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(150 * time.Second)
		w.Close()
		if want := []time.Duration{0, time.Minute, 2 * time.Minute}; !reflect.DeepEqual(looks, want) {
			t.Errorf("looked at %v, want %v", looks, want)
		}
	})
}

func TestWatcher_FailureKeepsWhatWasKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d fakeDisk
		var log bytes.Buffer
		d.set(50, nil)
		w, err := disk.Watch(disk.Config{ReserveBytes: 100, Free: d.measure, Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		d.set(1000, errors.New("stale handle"))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if !w.Low() || w.Free() != 50 {
			t.Errorf("low %v, free %d", w.Low(), w.Free())
		}
		w.Close()
		if n := strings.Count(log.String(), "stale handle"); n != 1 {
			t.Errorf("logged %d times: %s", n, &log)
		}
	})
}

func TestWatch_FailsIfItCannotMeasure(t *testing.T) {
	cause := errors.New("no such directory")
	_, err := disk.Watch(disk.Config{Free: func(string) (uint64, error) { return 0, cause }})
	if !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
}

func TestWatcher_OnARealDisk(t *testing.T) {
	w, err := disk.Watch(disk.Config{Dir: t.TempDir(), ReserveBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if w.Free() == 0 || w.Low() {
		t.Errorf("free %d, low %v", w.Free(), w.Low())
	}
}
