package raftstore_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/store"
)

// TestSim_RolledBackDiskIsNoticed puts one node's disk back to an older copy, as
// a snapshot of a virtual machine does, while the leader is down. The copy is of
// the time since the node was started last: an older one would be refused. With a
// third that lags it elects a leader that lacks acknowledged writes. Nothing can
// prevent that, but the old leader still has them: it must keep them, stop, and
// say which they are.
func TestSim_RolledBackDiskIsNoticed(t *testing.T) {
	t.Parallel()
	simulate(t, 17, 3, nil, func(s *sim) {
		leader := s.elected()
		rolledBack, lagging := s.others(leader)[0], s.others(leader)[1]
		s.quiet()
		dir := s.configs[rolledBack].Dir
		backup := dir + ".older"
		copyDir(t, dir, backup)

		s.crash(lagging)
		const lost = 200
		for i := range lost {
			if _, err := s.node(leader).Put(s.ctx, store.Pair{Key: fmt.Appendf(nil, "lost-%03d", i)}); err != nil {
				t.Fatal(err)
			}
		}
		s.crash(rolledBack)
		s.crash(leader) // what it knows to be committed is in its log alone
		must(t, os.RemoveAll(dir))
		must(t, os.Rename(backup, dir))
		s.restart(lagging)
		s.restart(rolledBack)
		other := s.elected(rolledBack, lagging)
		if _, err := s.node(other).Put(s.ctx, store.Pair{Key: []byte("new life")}); err != nil {
			t.Fatal(err)
		}

		// It may be elected again, as the only one that has them, and give them
		// back; the others' newer term decides here.
		s.restart(leader)
		s.within(electMax, "the old leader refuses to drop what is committed", func() error {
			st := s.node(leader).Status()
			if st.Role != raftstore.RoleFailed {
				return fmt.Errorf("it is %s", st.Role)
			}
			if !errors.Is(st.Err, store.ErrCorrupt) || !strings.Contains(st.Err.Error(), "may be lost everywhere but here") {
				return fmt.Errorf("it says %w", st.Err)
			}
			return nil
		})
		first, last := lostRange(t, s.node(leader).Status().Err)
		if last-first+1 < lost-1 { // the last one was not known to be committed when it was stored
			t.Errorf("it names the entries %d to %d, want %d", first, last, lost-1)
		}
		if has, err := s.node(leader).HasLogEntry(last); !has && !errors.Is(err, store.ErrFailed) {
			t.Errorf("entry %d is gone: %v", last, err)
		}
		s.forget(leader)
		time.Sleep(time.Second)
	})
}

// copyDir copies the files of a data directory, for their owner only.
func copyDir(t *testing.T, from, to string) {
	t.Helper()
	must(t, os.CopyFS(to, os.DirFS(from)))
	must(t, os.Chmod(to, 0o700))
	files, err := os.ReadDir(to)
	must(t, err)
	for _, f := range files {
		must(t, os.Chmod(filepath.Join(to, f.Name()), 0o600))
	}
}

// lostRange returns the entries that an error says may be lost.
func lostRange(t *testing.T, err error) (first, last uint64) {
	t.Helper()
	_, text, _ := strings.Cut(err.Error(), "committed: ")
	var n uint64
	if _, err := fmt.Sscanf(text, "the %d from %d to %d may be lost", &n, &first, &last); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return first, last
}
