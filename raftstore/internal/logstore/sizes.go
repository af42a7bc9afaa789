package logstore

import (
	"cmp"
	"slices"
	"sync"

	"github.com/hashicorp/raft"
)

// entryBytes is what an entry takes besides its data and extensions: its place in
// a page, and the other fields.
const entryBytes = 128

// sizes knows how many bytes each entry of a log takes, so that the log can be
// bounded by them. Its methods may be called concurrently.
type sizes struct {
	mu      sync.Mutex // guards the fields below
	first   uint64     // index of the first of entries
	entries []uint32   // of consecutive indexes
	sum     uint64     // of entries
	before  uint64     // bytes of entries before first, where the log has a gap
	gap     uint64     // where that begins
	largest uint32     // entry that ever was in the log since it was opened
}

// stored notes entries that were stored, in order.
func (s *sizes) stored(logs []*raft.Log) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range logs {
		s.add(l.Index, uint32(entryBytes+len(l.Data)+len(l.Extensions)))
	}
}

// add notes an entry, which takes the place of those from its index on. The
// caller holds mu.
func (s *sizes) add(index uint64, size uint32) {
	s.cut(index)
	if index != s.first+uint64(len(s.entries)) {
		if len(s.entries) > 0 {
			s.before, s.gap = s.before+s.sum, s.first+uint64(len(s.entries))
		}
		s.first, s.entries, s.sum = index, s.entries[:0], 0
	}
	s.entries = append(s.entries, size)
	s.sum += uint64(size)
	s.largest = max(s.largest, size)
}

// cut forgets the entries from index on. The caller holds mu.
func (s *sizes) cut(index uint64) {
	if keep := max(index, s.first) - s.first; keep < uint64(len(s.entries)) {
		for _, size := range s.entries[keep:] {
			s.sum -= uint64(size)
		}
		s.entries = s.entries[:keep]
	}
}

// deleted notes that the entries from first to last are gone.
func (s *sizes) deleted(first, last uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if first < s.gap && last+1 >= s.gap { // raft deletes the beginning or the end
		s.before = 0
	}
	end := s.first + uint64(len(s.entries))
	switch {
	case last < s.first || first >= end:
	case first > s.first:
		s.cut(first)
	default:
		drop := min(last+1, end) - s.first
		for _, size := range s.entries[:drop] {
			s.sum -= uint64(size)
		}
		s.entries = slices.Delete(s.entries, 0, int(drop))
		s.first += drop
	}
}

// total is how many bytes the entries take.
func (s *sizes) total() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.before + s.sum
}

// fit is how many entries at the end take no more than so many bytes.
func (s *sizes) fit(bytes uint64) (n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, size := range slices.Backward(s.entries) {
		if bytes < uint64(size) {
			break
		}
		bytes -= uint64(size)
		n++
	}
	return n
}

// largestEver is the size of the largest entry since the log was opened.
func (s *sizes) largestEver() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return uint64(s.largest)
}

// found is an entry that the check of a file comes by, in any order.
type found struct {
	index uint64
	size  uint32
}

// load notes the entries that a file was found to have.
func (s *sizes) load(entries []found) {
	slices.SortFunc(entries, func(a, b found) int { return cmp.Compare(a.index, b.index) })
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range entries {
		s.add(e.index, e.size)
	}
}
