package store

import "bytes"

// Range is a set of adjacent keys: Start <= key < End in byte order. A nil End
// stands for the end of the key space. The zero Range holds every key.
//
// A Range shares the bytes of the keys it was made from; they must not be
// changed while it is in use.
type Range struct {
	Start []byte
	End   []byte
}

// Key is the range that holds key and nothing else.
func Key(key []byte) Range {
	end := make([]byte, len(key)+1)
	copy(end, key)
	return Range{Start: end[:len(key):len(key)], End: end}
}

// Prefix is the range of the keys that begin with prefix. The empty prefix
// begins every key.
func Prefix(prefix []byte) Range {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] == 0xff {
			continue
		}
		end := bytes.Clone(prefix[:i+1])
		end[i]++
		return Range{Start: prefix, End: end}
	}
	return Range{Start: prefix} // only 0xff bytes: no key outside lies behind it
}

// After is the part of r behind key: the rest of a scan that ended at key.
func (r Range) After(key []byte) Range {
	if bytes.Compare(key, r.Start) < 0 {
		return r
	}
	return Range{Start: Key(key).End, End: r.End}
}

// Contains tells whether key lies in r.
func (r Range) Contains(key []byte) bool {
	return bytes.Compare(key, r.Start) >= 0 && (r.End == nil || bytes.Compare(key, r.End) < 0)
}

// Point returns the key of a range that [Key] made, and whether r is one.
func (r Range) Point() ([]byte, bool) {
	n := len(r.Start)
	return r.Start, n > 0 && len(r.End) == n+1 && r.End[n] == 0 && bytes.Equal(r.End[:n], r.Start)
}
