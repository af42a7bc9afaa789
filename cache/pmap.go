package cache

import "math/bits"

const (
	fanoutBits = 5 // of the hash per level, so that a node has at most 32 slots
	fanoutMask = 1<<fanoutBits - 1
)

// pmap is a persistent hash map: a copy of the struct is a snapshot, and changes
// of one leave the others as they are. The caller hashes; the hash of a key must
// always be the same, and be good in all its bits. The zero value is empty.
//
// Each change takes own. Where it is false, the change copies the nodes on its
// way. Where it is true it changes them in place: for a map that nobody else has
// seen, nor a copy of it.
type pmap[K comparable, V any] struct {
	root *pnode[K, V]
	len  int
}

// pnode has a slot for each bit in bitmap, in the order of the bits.
type pnode[K comparable, V any] struct {
	bitmap uint32
	slots  []pslot[K, V]
}

// pslot holds either.
type pslot[K comparable, V any] struct {
	leaf *pleaf[K, V]
	kid  *pnode[K, V]
}

// pleaf is a key with its value. It is never changed, but for the value of a map
// that is changed in place.
type pleaf[K comparable, V any] struct {
	next  *pleaf[K, V] // of the same hash
	hash  uint64
	key   K
	value V
}

// get returns the value of key, or nil. The value must not be changed.
func (m *pmap[K, V]) get(hash uint64, key K) *V {
	for l := m.chain(hash); l != nil; l = l.next {
		if l.key == key {
			return &l.value
		}
	}
	return nil
}

// chain returns the leaves with a hash, for callers to whom a key is expensive.
func (m *pmap[K, V]) chain(hash uint64) *pleaf[K, V] {
	n := m.root
	for shift := 0; n != nil; shift += fanoutBits {
		bit := uint32(1) << (hash >> shift & fanoutMask)
		if n.bitmap&bit == 0 {
			return nil
		}
		s := &n.slots[bits.OnesCount32(n.bitmap&(bit-1))]
		if s.kid == nil {
			if s.leaf.hash != hash {
				return nil
			}
			return s.leaf
		}
		n = s.kid
	}
	return nil
}

// set stores value under key and returns where. Pointers to a value that was
// there before keep that value.
func (m *pmap[K, V]) set(hash uint64, key K, value V, own bool) *V {
	l := &pleaf[K, V]{hash: hash, key: key, value: value}
	root, added := m.root.with(0, l, own)
	m.root = root
	if added {
		m.len++
	}
	return &l.value
}

// edit returns the value of key for the caller to change, a zero value where
// there was none.
func (m *pmap[K, V]) edit(hash uint64, key K, own bool) *V {
	var value V
	if v := m.get(hash, key); v != nil {
		if own {
			return v
		}
		value = *v
	}
	return m.set(hash, key, value, own)
}

// delete removes key and tells whether it was there.
func (m *pmap[K, V]) delete(hash uint64, key K, own bool) bool {
	if m.get(hash, key) == nil {
		return false
	}
	m.len--
	m.root = m.root.without(0, hash, key, own)
	if len(m.root.slots) == 0 {
		m.root = nil
	}
	return true
}

// each calls yield for every key, in no order that means anything, until it
// returns false.
func (m *pmap[K, V]) each(yield func(K, *V) bool) { m.root.each(yield) }

func (n *pnode[K, V]) each(yield func(K, *V) bool) bool {
	if n == nil {
		return true
	}
	for i := range n.slots {
		for l := n.slots[i].leaf; l != nil; l = l.next {
			if !yield(l.key, &l.value) {
				return false
			}
		}
		if !n.slots[i].kid.each(yield) {
			return false
		}
	}
	return true
}

// hashes calls yield with the hash of every key.
func (m *pmap[K, V]) hashes(yield func(uint64)) { m.root.hashes(yield) }

func (n *pnode[K, V]) hashes(yield func(uint64)) {
	if n == nil {
		return
	}
	for i := range n.slots {
		for l := n.slots[i].leaf; l != nil; l = l.next {
			yield(l.hash)
		}
		n.slots[i].kid.hashes(yield)
	}
}

// with returns the node with l in it, and whether its key is new.
func (n *pnode[K, V]) with(shift int, l *pleaf[K, V], own bool) (*pnode[K, V], bool) {
	bit := uint32(1) << (l.hash >> shift & fanoutMask)
	if n == nil {
		return &pnode[K, V]{bitmap: bit, slots: []pslot[K, V]{{leaf: l}}}, true
	}
	i := bits.OnesCount32(n.bitmap & (bit - 1))
	if n.bitmap&bit == 0 {
		if !own {
			n = &pnode[K, V]{bitmap: n.bitmap, slots: n.slots}
		}
		n.bitmap |= bit
		n.slots = inserted(n.slots, i, pslot[K, V]{leaf: l}, own)
		return n, true
	}
	if !own {
		n = n.clone()
	}
	s, added := &n.slots[i], true
	switch {
	case s.kid != nil:
		s.kid, added = s.kid.with(shift+fanoutBits, l, own)
	case s.leaf.hash == l.hash:
		l.next, added = s.leaf.except(l.key)
		s.leaf = l
	default:
		s.kid, s.leaf = fork(shift+fanoutBits, s.leaf, l), nil
	}
	return n, added
}

// without returns the node without key, which it has.
func (n *pnode[K, V]) without(shift int, hash uint64, key K, own bool) *pnode[K, V] {
	if !own {
		n = n.clone()
	}
	bit := uint32(1) << (hash >> shift & fanoutMask)
	i := bits.OnesCount32(n.bitmap & (bit - 1))
	s := &n.slots[i]
	if s.kid != nil {
		s.kid = s.kid.without(shift+fanoutBits, hash, key, own)
		if rest := s.kid.slots; len(rest) == 1 && rest[0].kid == nil {
			*s = rest[0] // so that no path is longer than the keys need
		}
		return n
	}
	s.leaf, _ = s.leaf.except(key)
	if s.leaf == nil {
		n.bitmap &^= bit
		n.slots = append(n.slots[:i], n.slots[i+1:]...)
	}
	return n
}

func (n *pnode[K, V]) clone() *pnode[K, V] {
	return &pnode[K, V]{bitmap: n.bitmap, slots: append([]pslot[K, V](nil), n.slots...)}
}

// fork returns a node with two leaves of different hashes.
func fork[K comparable, V any](shift int, a, b *pleaf[K, V]) *pnode[K, V] {
	at, bt := a.hash>>shift&fanoutMask, b.hash>>shift&fanoutMask
	if at == bt {
		return &pnode[K, V]{bitmap: 1 << at, slots: []pslot[K, V]{{kid: fork(shift+fanoutBits, a, b)}}}
	}
	if at > bt {
		a, b = b, a
	}
	return &pnode[K, V]{bitmap: 1<<at | 1<<bt, slots: []pslot[K, V]{{leaf: a}, {leaf: b}}}
}

// except returns the chain without key, and whether key was not in it.
func (l *pleaf[K, V]) except(key K) (*pleaf[K, V], bool) {
	if l == nil {
		return nil, true
	}
	if l.key == key {
		return l.next, false
	}
	rest, absent := l.next.except(key)
	if absent {
		return l, true
	}
	c := *l // readers may hold l
	c.next = rest
	return &c, false
}

// inserted returns list with v at i: in its own memory if own, else in new.
func inserted[T any](list []T, i int, v T, own bool) []T {
	if own {
		list = append(list, v)
		copy(list[i+1:], list[i:])
		list[i] = v
		return list
	}
	out := make([]T, len(list)+1)
	copy(out, list[:i])
	out[i] = v
	copy(out[i+1:], list[i:])
	return out
}

// removed returns list without the element at i: in its own memory if own, else
// in new.
func removed[T any](list []T, i int, own bool) []T {
	if own {
		copy(list[i:], list[i+1:])
		clear(list[len(list)-1:])
		return list[:len(list)-1]
	}
	out := make([]T, len(list)-1)
	copy(out, list[:i])
	copy(out[i:], list[i+1:])
	return out
}
