package cache

import "math/bits"

// order is a persistent trie of entries by number, which is the order of their
// creation. As with [pmap], a copy is a snapshot unless a change owns it. The
// zero value is empty.
//
// Numbers are dense, since they count creations, so an entry takes little more
// than its pointer: a trie of 5 bits a level has about 32 of them in each leaf.
type order struct {
	root  *onode
	shift int // of the root's digit: the trie holds numbers below 1<<(shift+fanoutBits)

	// rest has the entries whose number another one has, or that have none,
	// as there are only in a damaged store.
	rest entryList
}

// onode has an element for each bit in bitmap, in the order of the bits: entries
// in a leaf, nodes above.
type onode struct {
	bitmap  uint32
	entries []*entry
	kids    []*onode
}

// digit returns the bit of a number's digit.
func digit(number uint64, shift int) uint32 { return 1 << (number >> shift & fanoutMask) }

// place returns where the element of a bit is, or would be.
func (n *onode) place(bit uint32) int { return bits.OnesCount32(n.bitmap & (bit - 1)) }

// total tells whether visit visits all entries.
func (o *order) total() bool { return o.rest.empty() }

// get returns the entry with a number, or nil.
func (o *order) get(number uint64) *entry {
	if number>>o.shift>>fanoutBits != 0 {
		return nil
	}
	n := o.root
	for shift := o.shift; n != nil; shift -= fanoutBits {
		bit := digit(number, shift)
		if n.bitmap&bit == 0 {
			return nil
		}
		if shift == 0 {
			return n.entries[n.place(bit)]
		}
		n = n.kids[n.place(bit)]
	}
	return nil
}

// contains tells whether e itself is in the order.
func (o *order) contains(e *entry) bool { return o.get(e.number) == e || o.rest.contains(e) }

func (o *order) add(e *entry, own bool) {
	if e.number == 0 || o.get(e.number) != nil {
		o.rest.add(e, own)
		return
	}
	for e.number>>o.shift>>fanoutBits != 0 {
		if o.root != nil {
			o.root = &onode{bitmap: 1, kids: []*onode{o.root}}
		}
		o.shift += fanoutBits
	}
	o.root = o.root.with(o.shift, e, own)
}

// remove takes out e itself.
func (o *order) remove(e *entry, own bool) {
	if o.get(e.number) != e {
		o.rest.remove(e, own)
		return
	}
	o.root = o.root.without(o.shift, e.number, own)
	if o.root == nil {
		o.shift = 0
	}
	if o.rest.empty() {
		return
	}
	var heir *entry
	o.rest.each(func(r *entry) bool {
		if r.number == e.number {
			heir = r
		}
		return r.number < e.number
	})
	if heir != nil {
		o.rest.remove(heir, own)
		o.add(heir, own)
	}
}

// visit calls yield with the entries that have a number greater than after, in
// order, until it returns false.
func (o *order) visit(after uint64, yield func(*entry) bool) {
	if from := after + 1; from != 0 && from>>o.shift>>fanoutBits == 0 {
		o.root.visit(o.shift, from, yield)
	}
}

// each calls yield with every entry until it returns false.
func (o *order) each(yield func(*entry) bool) {
	if o.root.visit(o.shift, 0, yield) {
		o.rest.each(yield)
	}
}

// visit calls yield with the entries from a number on, of which only the digits
// from shift down count.
func (n *onode) visit(shift int, from uint64, yield func(*entry) bool) bool {
	if n == nil {
		return true
	}
	first := digit(from, shift)
	i := n.place(first)
	if shift == 0 {
		for _, e := range n.entries[i:] {
			if !yield(e) {
				return false
			}
		}
		return true
	}
	if n.bitmap&first == 0 {
		from = 0 // what follows is greater
	}
	for _, kid := range n.kids[i:] {
		if !kid.visit(shift-fanoutBits, from, yield) {
			return false
		}
		from = 0
	}
	return true
}

// with returns the node with e in it, whose number it hasn't.
func (n *onode) with(shift int, e *entry, own bool) *onode {
	bit := digit(e.number, shift)
	var c onode
	if n != nil {
		c = *n
	}
	i, found := c.place(bit), c.bitmap&bit != 0
	c.bitmap |= bit
	switch {
	case shift == 0:
		c.entries = inserted(c.entries, i, e, own)
	case found:
		if !own {
			c.kids = append([]*onode(nil), c.kids...)
		}
		c.kids[i] = c.kids[i].with(shift-fanoutBits, e, own)
	default:
		c.kids = inserted(c.kids, i, (*onode)(nil).with(shift-fanoutBits, e, own), own)
	}
	return n.replaced(c, own)
}

// without returns the node without the entry that has number, or nil where there
// is no other.
func (n *onode) without(shift int, number uint64, own bool) *onode {
	bit := digit(number, shift)
	c, i := *n, n.place(bit)
	switch {
	case shift == 0:
		c.entries = removed(c.entries, i, own)
		c.bitmap &^= bit
	default:
		kid := c.kids[i].without(shift-fanoutBits, number, own)
		if kid == nil {
			c.kids = removed(c.kids, i, own)
			c.bitmap &^= bit
			break
		}
		if !own {
			c.kids = append([]*onode(nil), c.kids...)
		}
		c.kids[i] = kid
	}
	if c.bitmap == 0 {
		return nil
	}
	return n.replaced(c, own)
}

// replaced returns a node with the content of c: n itself if owned.
func (n *onode) replaced(c onode, own bool) *onode {
	if n == nil || !own {
		return &c
	}
	*n = c
	return n
}
