package cache

import "sync/atomic"

// filterBits is how much memory a filter has for each hash, in bits.
const filterBits = 16

// filter is a set of hashes that says "maybe" for those that were added and for
// about one in a hundred others, and "no" for the rest, at the price of one look
// into memory that fits a processor's cache. Most entries have no place below
// them, and this finds it out.
//
// States share a filter: what a later one adds is to an earlier one just another
// wrong maybe. One writer adds while others read.
type filter struct {
	words []atomic.Uint64 // a power of two of them
	room  int             // hashes that may still be added
}

// newFilter returns an empty filter for at least n hashes.
func newFilter(n int) *filter {
	words := 64
	for words*64 < n*filterBits {
		words *= 2
	}
	return &filter{words: make([]atomic.Uint64, words), room: words * 64 / filterBits}
}

// add must come before the state with the hash is published.
func (f *filter) add(hash uint64) {
	f.words[f.word(hash)].Or(pattern(hash))
	f.room--
}

func (f *filter) maybe(hash uint64) bool {
	p := pattern(hash)
	return f.words[f.word(hash)].Load()&p == p
}

func (f *filter) word(hash uint64) uint64 { return hash >> 16 & uint64(len(f.words)-1) }

// pattern uses bits of the hash that word doesn't.
func pattern(hash uint64) uint64 { return 1<<(hash&63) | 1<<(hash>>6&63) }
