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
	"sync/atomic"
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

// TestWatcher_RoomInFiles lets room inside of files count up to their shares of
// the reserve, and no farther.
func TestWatcher_RoomInFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d fakeDisk
		d.set(200, nil)
		var asked, first, second atomic.Uint64
		file := func(room *atomic.Uint64) func() (uint64, error) {
			return func() (uint64, error) {
				asked.Add(1)
				if room.Load() == 7 {
					return 7, errors.New("not now")
				}
				return room.Load(), nil
			}
		}
		w, err := disk.Watch(disk.Config{ReserveBytes: 100, Free: d.measure, Files: []func() (uint64, error){file(&first), file(&second)}})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		for i, step := range []struct {
			free, first, second uint64
			low                 bool
		}{
			{100, 0, 0, false},
			{99, 0, 0, true},
			{99, 1000, 0, false}, // 1.25 times the reserve are 125, of which the first file has its half
			{50, 1000, 0, false},
			{49, 1000, 0, true},
			{0, 1000, 61, true},
			{0, 1000, 62, false},
			{0, 50, 50, false},
			{0, 49, 50, true},
			{61, 7, 62, true}, // an error
			{62, 7, 62, false},
		} {
			d.set(step.free, nil)
			first.Store(step.first)
			second.Store(step.second)
			time.Sleep(time.Second)
			synctest.Wait()
			if w.Low() != step.low || w.Free() != step.free {
				t.Errorf("step %d: low %v, free %d, want %+v", i, w.Low(), w.Free(), step)
			}
		}
		d.set(1000, nil)
		time.Sleep(time.Second)
		synctest.Wait()
		before := asked.Load()
		time.Sleep(10 * time.Second)
		if asked.Load() != before {
			t.Error("files are asked where there is enough space")
		}
	})
}

// TestWatcher_LooksAtOnceWhereItMightMatter fills a disk between two looks.
func TestWatcher_LooksAtOnceWhereItMightMatter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d fakeDisk
		d.set(1000, nil)
		var looks atomic.Int64
		w, err := disk.Watch(disk.Config{ReserveBytes: 100, Interval: time.Hour, Free: func(dir string) (uint64, error) {
			looks.Add(1)
			return d.measure(dir)
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		step := func(take, wantLooks uint64, wantLow bool) {
			t.Helper()
			before := looks.Load()
			w.Take(take)
			synctest.Wait()
			if got := uint64(looks.Load() - before); got != wantLooks || w.Low() != wantLow {
				t.Errorf("after %d bytes it has looked %d times, and low is %v", take, got, w.Low())
			}
		}
		step(200, 0, false) // 800 written at most, 900 are to spare
		d.set(900, nil)
		step(50, 1, false)
		step(300, 0, false) // too soon
		d.set(90, nil)
		time.Sleep(50 * time.Millisecond)
		synctest.Wait()
		if !w.Low() {
			t.Error("not low")
		}
		time.Sleep(time.Second)
		step(1000, 0, true) // it can't get lower
	})
}
