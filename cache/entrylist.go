package cache

import (
	"cmp"
	"sort"
)

// chunkMax is how many entries a list keeps in one piece. A change copies one
// piece and the list of pieces, so that lists of 100,000 entries change as
// cheaply as they are read.
const chunkMax = 256

// entryList is a persistent list of entries in the order of their creation. As
// with [pmap], a copy is a snapshot unless a change owns the list. The zero
// value is empty.
type entryList struct {
	flat   []*entry   // all entries, where chunks is nil
	chunks [][]*entry // none of them empty
}

func (l *entryList) empty() bool { return len(l.flat)+len(l.chunks) == 0 }

// each calls yield for every entry until it returns false.
func (l *entryList) each(yield func(*entry) bool) {
	for _, e := range l.flat {
		if !yield(e) {
			return
		}
	}
	for _, chunk := range l.chunks {
		for _, e := range chunk {
			if !yield(e) {
				return
			}
		}
	}
}

func (l *entryList) add(e *entry, own bool) {
	if l.chunks == nil {
		l.flat = inserted(l.flat, position(l.flat, e), e, own)
		if len(l.flat) > chunkMax {
			l.chunks, l.flat = split(l.flat), nil
		}
		return
	}
	c := l.chunk(e)
	chunk := inserted(l.chunks[c], position(l.chunks[c], e), e, own)
	if !own {
		l.chunks = append([][]*entry(nil), l.chunks...)
	}
	l.chunks[c] = chunk
	if len(chunk) > chunkMax {
		halves := split(chunk)
		l.chunks[c] = halves[0]
		l.chunks = inserted(l.chunks, c+1, halves[1], own)
	}
}

// remove takes out e itself, and tells whether it was there.
func (l *entryList) remove(e *entry, own bool) bool {
	if !l.contains(e) {
		return false
	}
	if l.chunks == nil {
		l.flat = removed(l.flat, position(l.flat, e), own)
		return true
	}
	c := l.chunk(e)
	chunk := removed(l.chunks[c], position(l.chunks[c], e), own)
	if len(chunk) == 0 {
		l.chunks = removed(l.chunks, c, own)
		if len(l.chunks) == 0 {
			l.chunks = nil
		}
		return true
	}
	if !own {
		l.chunks = append([][]*entry(nil), l.chunks...)
	}
	l.chunks[c] = chunk
	return true
}

// contains tells whether e itself is in the list.
func (l *entryList) contains(e *entry) bool {
	in := l.flat
	if l.chunks != nil {
		in = l.chunks[l.chunk(e)]
	}
	i := position(in, e)
	return i < len(in) && in[i] == e
}

// chunk returns the index of the chunk that e belongs to.
func (l *entryList) chunk(e *entry) int {
	behind := sort.Search(len(l.chunks), func(i int) bool { return l.chunks[i][0].compare(e) > 0 })
	return max(behind-1, 0)
}

// position returns where e is in a piece, or would be.
func position(piece []*entry, e *entry) int {
	return sort.Search(len(piece), func(i int) bool { return piece[i].compare(e) >= 0 })
}

func split(piece []*entry) [][]*entry {
	half := len(piece) / 2
	return [][]*entry{append([]*entry(nil), piece[:half]...), append([]*entry(nil), piece[half:]...)}
}

// compare orders entries by creation. Numbers differ, unless the store is
// damaged.
func (e *entry) compare(o *entry) int {
	return cmp.Or(cmp.Compare(e.number, o.number), cmp.Compare(e.message.EntryId, o.message.EntryId))
}
