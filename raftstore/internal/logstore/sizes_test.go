package logstore_test

import (
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/raftstore/internal/logstore"
)

// sized returns an entry that takes about so many bytes.
func sized(index uint64, bytes int) *raft.Log {
	return &raft.Log{Index: index, Term: 1, Data: make([]byte, bytes)}
}

// TestStore_KnowsItsBytes appends, and deletes both ends, at random, and compares
// with what a log that is opened anew finds in the file.
func TestStore_KnowsItsBytes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	s, err := logstore.Open(logstore.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	sizes := map[uint64]int{}
	first, next, gapEnd := uint64(1), uint64(1), uint64(0)
	for round := range 200 {
		switch n := rnd.Uint64N(5); {
		case round%40 == 39: // a snapshot was installed, and the log goes on behind it
			next += 1000
			gapEnd = next
			fallthrough
		case n < 3 || next-first < 20:
			var logs []*raft.Log
			for range 1 + rnd.IntN(5) {
				sizes[next] = rnd.IntN(20_000)
				logs = append(logs, sized(next, sizes[next]))
				next++
			}
			must(s.StoreLogs(logs))
		case n == 3:
			cut := first + rnd.Uint64N(next-first)
			must(s.DeleteRange(first, cut))
			first = cut + 1
		default:
			cut := next - min(next-first, rnd.Uint64N(5))
			must(s.DeleteRange(cut, next))
			next = cut
		}
		want := uint64(0)
		for i := range sizes {
			if i < first || i >= next {
				delete(sizes, i)
				continue
			}
			want += uint64(sizes[i]) + 128
		}
		// Of entries before a gap it is not known which are gone.
		if got := s.Bytes(); got < want || got > want && first >= gapEnd {
			t.Fatalf("round %d: %d bytes, want %d", round, got, want)
		}
	}
	must(s.DeleteRange(first, gapEnd-1))
	first = max(first, gapEnd)
	bytes, fit := s.Bytes(), s.Fit(50_000)
	want := uint64(0)
	for left := 50_000; left >= sizes[next-1-want]+128 && next-1-want >= first; want++ {
		left -= sizes[next-1-want] + 128
	}
	if fit != want {
		t.Errorf("%d entries fit, want %d", fit, want)
	}
	must(s.Close())
	s = openLog(t, path)
	if got, off := s.Bytes(), 64*(next-first); got < bytes-off || got > bytes+off {
		t.Errorf("opened anew it has %d bytes, before %d", got, bytes)
	}
	must(s.Close())
}

// TestStore_ReusesWhatIsFree says how much room there is in the file of a log that
// was compacted, and finds it there.
func TestStore_ReusesWhatIsFree(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	s, err := logstore.Open(logstore.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	last := uint64(0)
	put := func(entries int) {
		t.Helper()
		for range entries {
			last++
			if err := s.StoreLog(sized(last, 50_000)); err != nil {
				t.Fatal(err)
			}
		}
	}
	room := func() uint64 {
		t.Helper()
		room, err := s.Reusable()
		if err != nil {
			t.Fatal(err)
		}
		return room
	}
	put(200)
	if got := room(); got > 1<<20 {
		t.Errorf("room for %d bytes in a log that only grew", got)
	}
	if err := s.DeleteRange(1, last-5); err != nil {
		t.Fatal(err)
	}
	if got := room(); got < 8<<20 {
		t.Errorf("room for %d bytes where 10 MB were deleted", got)
	}
	put(150)
	if got := room(); got > 5<<20 {
		t.Errorf("room for %d bytes where 7.5 of 10 MB were written again", got)
	}
}
