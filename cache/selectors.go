package cache

import (
	"cmp"
	"encoding/binary"
	"hash/maphash"
	"slices"

	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
)

// seed makes hashes of this process, so that nobody can choose keys that collide.
var seed = maphash.MakeSeed()

func hashString(s string) uint64 { return maphash.String(seed, s) }

// selectorKey is a selector as the key of a map.
type selectorKey struct{ typ, value string }

// selectorRef is a selector with its hash.
type selectorRef struct {
	hash     uint64
	selector *spirev1.Selector
}

func (r selectorRef) key() selectorKey {
	return selectorKey{typ: r.selector.GetType(), value: r.selector.GetValue()}
}

func (r selectorRef) compare(o selectorRef) int {
	if c := cmp.Compare(r.hash, o.hash); c != 0 {
		return c
	}
	return cmp.Or(
		cmp.Compare(r.selector.GetType(), o.selector.GetType()),
		cmp.Compare(r.selector.GetValue(), o.selector.GetValue()))
}

// selectorSet returns selectors as a set: sorted by hash, each once.
func selectorSet(selectors []*spirev1.Selector) []selectorRef {
	if len(selectors) == 0 {
		return nil
	}
	set := make([]selectorRef, len(selectors))
	for i, s := range selectors {
		// The factor keeps type and value apart; any odd number does.
		hash := hashString(s.GetType())*0x9e3779b97f4a7c15 + hashString(s.GetValue())
		set[i] = selectorRef{hash: hash, selector: s}
	}
	slices.SortFunc(set, selectorRef.compare)
	return slices.Clip(slices.CompactFunc(set, func(a, b selectorRef) bool { return a.compare(b) == 0 }))
}

// subset tells whether all of the set part are in the set whole.
func subset(part, whole []selectorRef) bool {
	for len(part) <= len(whole) {
		if len(part) == 0 {
			return true
		}
		switch c := part[0].compare(whole[0]); {
		case c < 0:
			return false
		case c == 0:
			part = part[1:]
		}
		whole = whole[1:]
	}
	return false
}

// setKey returns a string that equal sets have in common, and no others.
func setKey(set []selectorRef) string {
	var b []byte
	for _, r := range set {
		for _, s := range []string{r.selector.GetType(), r.selector.GetValue()} {
			b = binary.AppendUvarint(b, uint64(len(s)))
			b = append(b, s...)
		}
	}
	return string(b)
}
