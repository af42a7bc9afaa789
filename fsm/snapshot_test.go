package fsm_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/spire-raft/spire-raft/fsm"
	"github.com/spire-raft/spire-raft/store"
)

func install(m *fsm.Machine, snapshot []byte) error { return m.Install(bytes.NewReader(snapshot)) }

func TestSnapshot_BringsEverything(t *testing.T) {
	from := open(t)
	populate(t, from)
	s, err := from.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if s.Position() != from.Position() || string(s.Configuration()) != "a, b and c" {
		t.Errorf("snapshot at %+v with configuration %q", s.Position(), s.Configuration())
	}
	s.Close()

	dir := t.TempDir()
	to := openIn(t, dir)
	apply(t, to, writes(t, put("gone", "1")))
	if err := install(to, stream(t, from)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if to.Position() != from.Position() {
			t.Errorf("position %+v, want %+v", to.Position(), from.Position())
		}
		if got, want := contents(t, to), contents(t, from); !equalPairs(got, want) {
			t.Errorf("contents %v, want %v", got, want)
		}
		report, err := to.Scrub(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if want, _ := from.Scrub(t.Context()); report != want {
			t.Errorf("scrub %+v, want %+v", report, want)
		}
		closeMachine(t, to)
		to = openIn(t, dir)
	}
	next := writes(t, put("next", "1"))
	apply(t, to, next)
	apply(t, from, next)
	if to.Position() != from.Position() {
		t.Errorf("after one more entry: position %+v, want %+v", to.Position(), from.Position())
	}
	leaveNothing(t, dir)
}

// leaveNothing checks that no temporary file is left.
func leaveNothing(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 2 {
		t.Errorf("the directory holds %v", entries)
	}
}

func TestInstall_Refuses(t *testing.T) {
	from := open(t)
	populate(t, from)
	good := stream(t, from)
	flip := func(at int) []byte {
		b := bytes.Clone(good)
		b[at] ^= 0x10
		return b
	}
	foreign, err := fsm.Open(fsm.Options{Dir: t.TempDir(), ClusterID: "other"})
	if err != nil {
		t.Fatal(err)
	}
	populate(t, foreign)
	foreignStream := stream(t, foreign)
	closeMachine(t, foreign)

	for _, c := range []struct {
		name     string
		snapshot []byte
		want     error
	}{
		{"nothing", nil, store.ErrCorrupt},
		{"something else", []byte(strings.Repeat("x", 1<<16)), store.ErrCorrupt},
		{"a later version", flip(11), fsm.ErrTooNew},
		{"a huge header", flip(12), store.ErrCorrupt},
		{"a flipped bit in the header", flip(30), store.ErrCorrupt},
		{"a flipped bit in the image", flip(len(good) / 2), store.ErrCorrupt},
		{"a flipped bit in the checksum", flip(len(good) - 1), store.ErrCorrupt},
		{"only a prefix", good[:10], store.ErrCorrupt},
		{"only a header", good[:100], store.ErrCorrupt},
		{"half of it", good[:len(good)/2], store.ErrCorrupt},
		{"all but one byte", good[:len(good)-1], store.ErrCorrupt},
		{"one byte more", append(bytes.Clone(good), 0), store.ErrCorrupt},
		{"another cluster's", foreignStream, fsm.ErrOtherCluster},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			m := openIn(t, dir)
			apply(t, m, writes(t, put("mine", "1")))
			before := m.Position()
			if err := install(m, c.snapshot); !errors.Is(err, c.want) {
				t.Errorf("Install returned %v, want %v", err, c.want)
			}
			if m.Position() != before || m.Err() != nil {
				t.Errorf("position %+v, error %v", m.Position(), m.Err())
			}
			apply(t, m, writes(t, put("mine", "2")))
			leaveNothing(t, dir)
		})
	}

	m := openIn(t, t.TempDir())
	broken := errors.New("connection lost")
	if err := m.Install(io.MultiReader(bytes.NewReader(good[:5000]), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("a stream that breaks: %v", err)
	}
}

func TestInstall_RefusesABadConfiguration(t *testing.T) {
	from := open(t)
	populate(t, from)
	dir := t.TempDir()
	opts := options(dir)
	bad := errors.New("no configuration")
	opts.CheckConfiguration = func(c []byte) error {
		if string(c) == "a, b and c" {
			return bad
		}
		return nil
	}
	m, err := fsm.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	defer closeMachine(t, m)
	if err := install(m, stream(t, from)); !errors.Is(err, bad) || !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("Install returned %v", err)
	}
	if m.Position().Index != 0 || m.Err() != nil {
		t.Errorf("position %+v, error %v", m.Position(), m.Err())
	}
	leaveNothing(t, dir)
}

func TestCheckSnapshot(t *testing.T) {
	from := open(t)
	populate(t, from)
	good := stream(t, from)
	at, name := from.Position(), options("").ClusterID
	for _, c := range []struct {
		name        string
		stream      []byte
		cluster     string
		index, term uint64
		want        error
	}{
		{"as it is", good, name, at.Index, at.Term, nil},
		{"another cluster's", good, "other", at.Index, at.Term, fsm.ErrOtherCluster},
		{"of another index", good, name, at.Index + 1, at.Term, store.ErrCorrupt},
		{"of another term", good, name, at.Index, at.Term + 1, store.ErrCorrupt},
		{"cut off", good[:20], name, at.Index, at.Term, store.ErrCorrupt},
	} {
		if err := fsm.CheckSnapshot(bytes.NewReader(c.stream), c.cluster, c.index, c.term); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestInstall_NeverLowersTheIndex(t *testing.T) {
	from := open(t)
	apply(t, from, writes(t, put("a", "1")))
	old := stream(t, from)
	apply(t, from, writes(t, put("a", "2")))
	same := stream(t, from)

	dir := t.TempDir()
	m := openIn(t, dir)
	apply(t, m, writes(t, put("a", "1")))
	apply(t, m, writes(t, put("a", "2")))
	before := m.Position()
	if err := install(m, old); !errors.Is(err, fsm.ErrOlderSnapshot) {
		t.Errorf("an older snapshot: %v", err)
	}
	if err := install(m, same); err != nil {
		t.Errorf("the same state: %v", err)
	}
	if m.Position() != before {
		t.Errorf("position %+v, want %+v", m.Position(), before)
	}
	leaveNothing(t, dir)

	diverged := open(t)
	apply(t, diverged, writes(t, put("a", "1")))
	apply(t, diverged, writes(t, put("a", "3")))
	if err := install(diverged, same); !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), "diverged") {
		t.Errorf("another state at the same index: %v", err)
	}
}

func TestInstall_UnderOpenViews(t *testing.T) {
	from := open(t)
	populate(t, from)
	m := open(t)
	apply(t, m, writes(t, put("a", "old")))
	v, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	oldPosition := m.Position()
	advanced := m.Advanced()
	if err := install(m, stream(t, from)); err != nil {
		t.Fatal(err)
	}
	<-advanced
	if kv, found, err := v.Get([]byte("a")); err != nil || !found || string(kv.Value) != "old" {
		t.Errorf("the view sees %q %v %v", kv.Value, found, err)
	}
	v.Close()
	var buf bytes.Buffer
	if _, err := s.WriteTo(&buf); err != nil {
		t.Fatal(err)
	}
	s.Close()
	other := open(t)
	if err := install(other, buf.Bytes()); err != nil || other.Position() != oldPosition {
		t.Errorf("the snapshot of before: %v, at %+v", err, other.Position())
	}
	apply(t, m, writes(t, put("a", "new")))
	scrub(t, m)
}

func TestConcurrentUse(t *testing.T) {
	from := open(t)
	for i := range 50 {
		applyAll(t, from, entry(uint64(200+i), writes(t, put("a", "snapshot"))))
	}
	snapshot := stream(t, from)

	m := open(t)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	last := make([]uint64, 4)
	for i := range last {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				advanced := m.Advanced()
				v, err := m.View()
				if err != nil {
					t.Error(err)
					return
				}
				p := v.Position()
				kv, _, err := v.Get([]byte("a"))
				if err != nil || p.Cursor.Revision != kv.ModRevision || p.Index < last[i] {
					t.Errorf("a view at %+v of revision %d: %v", p, kv.ModRevision, err)
				}
				last[i] = p.Index
				v.Close()
				if _, err := m.Scrub(t.Context()); err != nil {
					t.Error(err)
				}
				select {
				case <-advanced:
				case <-stop:
				}
			}
		})
	}
	for i := range 300 {
		if i == 150 {
			if err := install(m, snapshot); err != nil {
				t.Error(err)
			}
		}
		applyAll(t, m, entry(uint64(i+1), writes(t, put("a", "log"))))
	}
	close(stop)
	wg.Wait()
}

func TestSnapshot_FileModes(t *testing.T) {
	from := open(t)
	populate(t, from)
	dir := t.TempDir()
	m := openIn(t, dir)
	if err := install(m, stream(t, from)); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "state.db"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
}
