package fsm_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spire-raft/spire-raft/fsm"
	"github.com/spire-raft/spire-raft/store"
)

// openError opens dir, which must fail with want.
func openError(t *testing.T, dir string, want error) {
	t.Helper()
	m, err := fsm.Open(options(dir))
	if err == nil {
		closeMachine(t, m)
	}
	if !errors.Is(err, want) {
		t.Fatalf("Open returned %v, want %v", err, want)
	}
}

func TestOpen_Errors(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, dir string)
		want    error
	}{
		{"locked by a machine that is open", func(t *testing.T, dir string) { openIn(t, dir) }, fsm.ErrLocked},
		{"data of another cluster", func(t *testing.T, dir string) {
			opts := options(dir)
			opts.ClusterID = "other"
			m, err := fsm.Open(opts)
			if err != nil {
				t.Fatal(err)
			}
			closeMachine(t, m)
		}, fsm.ErrOtherCluster},
		{"a later format", func(t *testing.T, dir string) {
			closeMachine(t, openIn(t, dir))
			if err := fsm.SetFormat(filepath.Join(dir, "state.db"), fsm.FormatVersion+1); err != nil {
				t.Fatal(err)
			}
		}, fsm.ErrTooNew},
		{"an empty file", func(t *testing.T, dir string) { writeState(t, dir, nil) }, store.ErrCorrupt},
		{"some other file", func(t *testing.T, dir string) {
			writeState(t, dir, []byte(strings.Repeat("registration entries ", 4096)))
		}, store.ErrCorrupt},
		{"zeros", func(t *testing.T, dir string) { writeState(t, dir, make([]byte, 1<<16)) }, store.ErrCorrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			c.prepare(t, dir)
			openError(t, dir, c.want)
			openError(t, dir, c.want) // the first left no lock
		})
	}
	openError(t, filepath.Join(t.TempDir(), "absent"), os.ErrNotExist)
	if _, err := fsm.Open(fsm.Options{Dir: t.TempDir()}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("without a cluster id: %v", err)
	}
}

func writeState(t *testing.T, dir string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "state.db"), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestOpen_RemovesLeftovers(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, "state.tmp-123")
	if err := os.WriteFile(left, []byte("half a snapshot"), 0o600); err != nil {
		t.Fatal(err)
	}
	openIn(t, dir)
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("leftover: %v", err)
	}
}

func TestOpen_KeepsOthersOut(t *testing.T) {
	dir := t.TempDir()
	openIn(t, dir)
	path := filepath.Join(dir, "state.db")
	openError(t, dir, fsm.ErrLocked)
	// The lock must not be that of a file which an install replaces.
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	openError(t, dir, fsm.ErrLocked)
}

func TestOpen_FileModes(t *testing.T) {
	dir := t.TempDir()
	openIn(t, dir)
	for _, name := range []string{"state.db", "state.lock"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
}

func TestReopen_KeepsEverything(t *testing.T) {
	dir := t.TempDir()
	m := openIn(t, dir)
	populate(t, m)
	before, want := m.Position(), contents(t, m)
	closeMachine(t, m)

	m = openIn(t, dir)
	if m.Position() != before {
		t.Fatalf("position %+v after reopening, %+v before", m.Position(), before)
	}
	if got := contents(t, m); !equalPairs(got, want) {
		t.Fatalf("contents %v after reopening, %v before", got, want)
	}
	scrub(t, m)
}

func TestClose(t *testing.T) {
	m := open(t)
	apply(t, m, writes(t, put("a", "1")))
	v, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan error)
	go func() { closed <- m.Close() }()
	<-m.Advanced() // Close has begun, and waits for the view
	if kv, found, err := v.Get([]byte("a")); err != nil || !found || string(kv.Value) != "1" {
		t.Fatalf("Get while closing: %v %v %v", kv, found, err)
	}
	select {
	case <-closed:
		t.Fatal("Close did not wait for the view")
	default:
	}
	v.Close()
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	closeMachine(t, m)

	_, viewErr := m.View()
	_, applyErr := m.Apply([]fsm.Entry{entry(2)})
	_, snapshotErr := m.Snapshot()
	_, historyErr := m.History(store.Cursor{}, 1)
	_, scrubErr := m.Scrub(t.Context())
	for what, err := range map[string]error{
		"Flush": m.Flush(), "View": viewErr, "Apply": applyErr, "Snapshot": snapshotErr, "History": historyErr, "Scrub": scrubErr,
		"Install": m.Install(strings.NewReader("")), "WaitIndex": m.WaitIndex(t.Context(), 1),
	} {
		if !errors.Is(err, store.ErrClosed) {
			t.Errorf("%s after Close: %v", what, err)
		}
	}
	if m.Position().Index != 1 {
		t.Errorf("position after Close: %+v", m.Position())
	}
}

func TestWait(t *testing.T) {
	m := open(t)
	waited := make(chan error)
	go func() { waited <- m.WaitIndex(t.Context(), 3) }()
	apply(t, m, writes(t, put("a", "1")))
	select {
	case err := <-waited:
		t.Fatalf("WaitIndex(3) returned %v at index 1", err)
	default:
	}
	applyAll(t, m, entry(2), entry(4)) // 3 is of no concern to the machine
	if err := <-waited; err != nil {
		t.Fatal(err)
	}
	if err := m.WaitRevision(t.Context(), 1); err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	go func() { waited <- m.WaitRevision(ctx, 2) }()
	cancel()
	if err := <-waited; !errors.Is(err, context.Canceled) {
		t.Fatalf("WaitRevision returned %v", err)
	}

	go func() { waited <- m.WaitRevision(t.Context(), 2) }()
	closeMachine(t, m)
	if err := <-waited; !errors.Is(err, store.ErrClosed) {
		t.Fatalf("WaitRevision returned %v at Close", err)
	}
}

func TestFailedWrite_StopsTheMachine(t *testing.T) {
	dir := t.TempDir()
	m := openWith(t, written(dir))
	apply(t, m, writes(t, put("a", "1")))
	broken := errors.New("broken disk")
	fsm.FailWrites(m, broken)

	_, err := m.Apply([]fsm.Entry{entry(2, writes(t, put("a", "2")))})
	if !errors.Is(err, store.ErrFailed) || !errors.Is(err, broken) {
		t.Fatalf("Apply returned %v", err)
	}
	<-m.Advanced()
	if durable := m.DurableIndex(); durable != 1 {
		t.Errorf("index %d counts as durable after a failed write", durable)
	}
	_, viewErr := m.View()
	_, applyErr := m.Apply([]fsm.Entry{entry(3)})
	_, snapshotErr := m.Snapshot()
	for what, got := range map[string]error{
		"Err": m.Err(), "Flush": m.Flush(), "View": viewErr, "Apply": applyErr, "Snapshot": snapshotErr,
		"Install": m.Install(bytes.NewReader(nil)), "WaitIndex": m.WaitIndex(t.Context(), 9),
	} {
		if !errors.Is(got, err) {
			t.Errorf("%s after a failure: %v", what, got)
		}
	}
	closeMachine(t, m)

	m = openIn(t, dir)
	if p := m.Position(); p.Index != 2 { // the write was done, whatever its error
		t.Fatalf("position %+v after reopening", p)
	}
	scrub(t, m)
}

func equalPairs(a, b []store.KeyValue) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i].Key, b[i].Key) || !bytes.Equal(a[i].Value, b[i].Value) || a[i].ModRevision != b[i].ModRevision {
			return false
		}
	}
	return true
}
