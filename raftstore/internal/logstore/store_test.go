package logstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/raftstore/internal/logstore"
	"github.com/spire-raft/spire-raft/store"
)

func entry(i uint64) *raft.Log {
	return &raft.Log{
		Index:      i,
		Term:       1 + i/10,
		Type:       raft.LogType(i % 6),
		Data:       bytes.Repeat([]byte{byte(i)}, int(i%700)),
		AppendedAt: time.Unix(int64(i), 12345).UTC(),
	}
}

func mustGet(t *testing.T, s *logstore.Store, i uint64) *raft.Log {
	t.Helper()
	var l raft.Log
	if err := s.GetLog(i, &l); err != nil {
		t.Fatalf("entry %d: %v", i, err)
	}
	return &l
}

func sameEntry(a, b *raft.Log) bool {
	return a.Index == b.Index && a.Term == b.Term && a.Type == b.Type && bytes.Equal(a.Data, b.Data) &&
		bytes.Equal(a.Extensions, b.Extensions) && a.AppendedAt.Equal(b.AppendedAt)
}

func TestStore_EntriesComeBackAsStored(t *testing.T) {
	s := openBolt(t)
	var logs []*raft.Log
	for i := uint64(1); i <= 100; i++ {
		l := entry(i)
		if i%3 == 0 {
			l.Extensions = []byte("extension")
		}
		logs = append(logs, l)
	}
	if err := s.StoreLogs(logs); err != nil {
		t.Fatal(err)
	}
	for i, l := range logs {
		want := entry(uint64(i + 1))
		if l.Index%3 == 0 {
			want.Extensions = []byte("extension")
		}
		if !reflect.DeepEqual(l, want) {
			t.Fatalf("StoreLogs changed the entry it was given: %+v", l)
		}
		if got := mustGet(t, s, l.Index); !sameEntry(got, want) {
			t.Errorf("entry %d is %+v, want %+v", l.Index, got, want)
		}
	}
	first, err1 := s.FirstIndex()
	last, err2 := s.LastIndex()
	if first != 1 || last != 100 || err1 != nil || err2 != nil {
		t.Errorf("indexes %d to %d (%v, %v), want 1 to 100", first, last, err1, err2)
	}
}

// The fields of an entry must be covered by the checksum or known not to be.
func TestStore_EveryFieldOfAnEntryIsAccountedFor(t *testing.T) {
	want := []string{"Index", "Term", "Type", "Data", "Extensions", "AppendedAt"}
	var got []string
	for f := range reflect.TypeFor[raft.Log]().Fields() {
		got = append(got, f.Name)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("raft.Log has fields %v, the checksum knows %v", got, want)
	}
}

func TestStore_DeleteRangeLeavesNothingBehind(t *testing.T) {
	s := openBolt(t)
	var logs []*raft.Log
	for i := uint64(1); i <= 5000; i++ {
		logs = append(logs, entry(i))
	}
	if err := s.StoreLogs(logs); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.DeleteRange(1, 2000), s.DeleteRange(4000, 5000)); err != nil {
		t.Fatal(err)
	}
	for i := uint64(1); i <= 5000; i++ {
		err := s.GetLog(i, new(raft.Log))
		if deleted := i <= 2000 || i >= 4000; deleted != errors.Is(err, raft.ErrLogNotFound) {
			t.Fatalf("entry %d: %v", i, err)
		}
	}
}

func TestStore_ValuesComeBackAsStored(t *testing.T) {
	s := openBolt(t)
	if err := errors.Join(s.Set([]byte("candidate"), []byte("n1")), s.Set([]byte("empty"), nil), s.SetUint64([]byte("term"), 7)); err != nil {
		t.Fatal(err)
	}
	if v, err := s.Get([]byte("candidate")); string(v) != "n1" || err != nil {
		t.Errorf("candidate = %q, %v", v, err)
	}
	if v, err := s.Get([]byte("empty")); len(v) != 0 || err != nil {
		t.Errorf("empty = %q, %v", v, err)
	}
	if n, err := s.GetUint64([]byte("term")); n != 7 || err != nil {
		t.Errorf("term = %d, %v", n, err)
	}
}

// raft compares the text of the error with "not found".
func TestStore_WhatIsMissingIsNoFailure(t *testing.T) {
	for name, s := range map[string]*logstore.Store{
		"bolt": openBolt(t), "backend that returns an empty value": logstore.New(newMemory(), nil),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := s.Get([]byte("x")); err == nil || err.Error() != "not found" {
				t.Errorf("Get: %v", err)
			}
			if _, err := s.GetUint64([]byte("x")); err == nil || err.Error() != "not found" {
				t.Errorf("GetUint64: %v", err)
			}
			if err := s.GetLog(1, new(raft.Log)); err != raft.ErrLogNotFound { //nolint:errorlint // raft compares with ==
				t.Errorf("GetLog: %v", err)
			}
			if err := s.Err(); err != nil {
				t.Errorf("the store stopped: %v", err)
			}
		})
	}
}

func operations(s *logstore.Store) map[string]func() error {
	return map[string]func() error{
		"FirstIndex":  func() error { _, err := s.FirstIndex(); return err },
		"LastIndex":   func() error { _, err := s.LastIndex(); return err },
		"GetLog":      func() error { return s.GetLog(1, new(raft.Log)) },
		"StoreLogs":   func() error { return s.StoreLog(entry(2)) },
		"DeleteRange": func() error { return s.DeleteRange(1, 1) },
		"Set":         func() error { return s.SetUint64([]byte("term"), 2) },
		"Get":         func() error { _, err := s.GetUint64([]byte("term")); return err },
	}
}

func TestStore_FirstFailureStopsEverything(t *testing.T) {
	for method := range operations(nil) {
		for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
			t.Run(fmt.Sprintf("%s %v", method, cause), func(t *testing.T) {
				m, r := newMemory(), newRecorder()
				s := logstore.New(m, r.report)
				if err := errors.Join(s.StoreLog(entry(1)), s.SetUint64([]byte("term"), 1)); err != nil {
					t.Fatal(err)
				}
				m.setFail(method, cause)
				first := operations(s)[method]()
				if !errors.Is(first, cause) || !errors.Is(first, store.ErrFailed) {
					t.Fatalf("got %v, want an ErrFailed with %v", first, cause)
				}
				m.setFail(method, nil) // the disk seems fine again, which means nothing
				for name, op := range operations(s) {
					if err := op(); !errors.Is(err, cause) || !errors.Is(err, store.ErrFailed) {
						t.Errorf("%s afterwards: %v", name, err)
					}
				}
				if errs := r.all(); len(errs) != 1 || errs[0].Error() != s.Err().Error() {
					t.Errorf("reported %v, want the first failure once", errs)
				}
			})
		}
	}
}

// crowd is a Backend whose reads of values wait for each other and then fail.
type crowd struct {
	*memory
	wg sync.WaitGroup
}

func (c *crowd) Get(key []byte) ([]byte, error) {
	c.wg.Done()
	c.wg.Wait()
	return nil, fmt.Errorf("%s: %w", key, errIO)
}

func TestStore_FailuresAtOnceAreReportedOnce(t *testing.T) {
	c, r := &crowd{memory: newMemory()}, newRecorder()
	s := logstore.New(c, r.report)
	const callers = 8
	c.wg.Add(callers)
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() { _, errs[i] = s.Get(fmt.Append(nil, i)) })
	}
	wg.Wait()
	if got := r.all(); len(got) != 1 || !errors.Is(got[0], errIO) {
		t.Fatalf("reported %v", got)
	}
	for _, err := range errs {
		if err == nil || err.Error() != r.all()[0].Error() {
			t.Errorf("returned %v, reported %v", err, r.all()[0])
		}
	}
}

func TestStore_PanicOfBackendIsAFailure(t *testing.T) {
	m := newMemory()
	s := logstore.New(m, nil)
	if err := s.StoreLog(entry(1)); err != nil {
		t.Fatal(err)
	}
	m.distort = func(*raft.Log) { panic("page 7 already freed") }
	if err := s.GetLog(1, new(raft.Log)); !errors.Is(err, store.ErrFailed) || !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("got %v", err)
	}
}

func TestStore_DamagedEntryIsNotReturned(t *testing.T) {
	for name, distort := range map[string]func(*raft.Log){
		"index":               func(l *raft.Log) { l.Index ^= 1 },
		"term":                func(l *raft.Log) { l.Term ^= 1 << 40 },
		"type":                func(l *raft.Log) { l.Type ^= 1 },
		"data":                func(l *raft.Log) { l.Data = append([]byte{l.Data[0] ^ 1}, l.Data[1:]...) },
		"data shorter":        func(l *raft.Log) { l.Data = l.Data[1:] },
		"extensions":          func(l *raft.Log) { l.Extensions = append([]byte{l.Extensions[0] ^ 1}, l.Extensions[1:]...) },
		"checksum":            func(l *raft.Log) { l.Extensions[len(l.Extensions)-1] ^= 1 },
		"no checksum":         func(l *raft.Log) { l.Extensions = nil },
		"another whole entry": func(l *raft.Log) { *l = *sealedEntry(77) },
	} {
		t.Run(name, func(t *testing.T) {
			m, r := newMemory(), newRecorder()
			s := logstore.New(m, r.report)
			l := entry(42)
			l.Extensions = []byte("ext")
			if err := s.StoreLog(l); err != nil {
				t.Fatal(err)
			}
			m.distort = distort
			if err := s.GetLog(42, new(raft.Log)); !errors.Is(err, store.ErrCorrupt) || !errors.Is(err, store.ErrFailed) {
				t.Errorf("got %v", err)
			}
			if len(r.all()) != 1 {
				t.Errorf("reported %v", r.all())
			}
		})
	}
}

// sealedEntry returns an entry as a backend gets it.
func sealedEntry(i uint64) *raft.Log {
	m := newMemory()
	var l raft.Log
	if err := errors.Join(logstore.New(m, nil).StoreLog(entry(i)), m.GetLog(i, &l)); err != nil {
		panic(err)
	}
	return &l
}

func TestStore_DamagedValueIsNotReturned(t *testing.T) {
	for name, damage := range map[string]func(values map[string][]byte){
		"flipped bit":         func(v map[string][]byte) { v["term"][7] ^= 1 },
		"flipped checksum":    func(v map[string][]byte) { v["term"][11] ^= 1 },
		"cut off":             func(v map[string][]byte) { v["term"] = v["term"][:3] },
		"value of other key":  func(v map[string][]byte) { v["term"] = v["vote"] },
		"not a number at all": func(v map[string][]byte) { delete(v, "term"); v["term"] = v["word"] },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory()
			s := logstore.New(m, nil)
			if err := errors.Join(s.SetUint64([]byte("term"), 9), s.SetUint64([]byte("vote"), 8), s.Set([]byte("word"), []byte("x"))); err != nil {
				t.Fatal(err)
			}
			damage(m.values)
			if n, err := s.GetUint64([]byte("term")); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("got %d, %v", n, err)
			}
		})
	}
}

func TestStore_NumberOfWrongSize(t *testing.T) {
	s := openBolt(t)
	if err := s.Set([]byte("term"), []byte("seven")); err != nil {
		t.Fatal(err)
	}
	if n, err := s.GetUint64([]byte("term")); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("got %d, %v", n, err)
	}
}

func TestStore_Close(t *testing.T) {
	r := newRecorder()
	m := newMemory()
	s := logstore.New(m, r.report)
	if err := errors.Join(s.Close(), s.Close()); err != nil || m.closed != 1 {
		t.Fatalf("closed %d times: %v", m.closed, err)
	}
	for name, op := range operations(s) {
		if err := op(); !errors.Is(err, store.ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
	if len(r.all()) != 0 {
		t.Errorf("Close was reported as a failure: %v", r.all())
	}
}

type monotonic struct{ *memory }

func (monotonic) IsMonotonic() bool { return true }

func TestStore_IsMonotonicIfTheBackendIs(t *testing.T) {
	if logstore.New(newMemory(), nil).IsMonotonic() || openBolt(t).IsMonotonic() {
		t.Error("a backend that takes gaps was called monotonic")
	}
	if !logstore.New(monotonic{newMemory()}, nil).IsMonotonic() {
		t.Error("a monotonic backend was not called so")
	}
}
