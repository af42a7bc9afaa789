package cache

import (
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// state is everything that the cache knows at one revision. Once published it
// never changes: the next revision is a copy, which shares all that is equal.
type state struct {
	cursor store.Cursor
	roles  roles

	bundles   pmap[string, bundle] // by trust domain id
	entries   pmap[string, entry]  // by entry id
	order     order                // of entries
	places    pmap[string, place]  // by SPIFFE ID
	below     *filter              // of the hashes of places, shared with other states
	aliases   aliasIndex
	malformed pmap[string, *malformed] // by key
	sizes     [kinds]int               // without malformed ones
	unread    [kinds]int               // the malformed ones

	own bool // not published: changed in place
}

type bundle struct {
	message *spirev1.Bundle
	number  uint64
}

// entry is a registration entry. Lists point at the one that is in state.entries.
type entry struct {
	message    *spirev1.RegistrationEntry
	number     uint64
	spiffeHash uint64 // of the SPIFFE ID, the place below the entry
	role       role
}

// place is what there is at a SPIFFE ID: the entries whose parent it is, and the
// node that has it. There is none where there is neither.
type place struct {
	children entryList
	node     *Node
}

// next returns a copy to make the next revision of.
func (s *state) next() *state {
	n := *s
	n.own = false
	return &n
}

// apply makes a change. It is right whatever was there before, so a listing may
// be ahead of the changes that are applied to it.
func (s *state) apply(c *change) {
	if s.malformed.len > 0 || c.malformed != nil {
		s.applyMalformed(c)
	}
	if c.id == "" && c.malformed != nil {
		return // the key doesn't parse, so no object was ever under it
	}
	switch c.kind {
	case KindBundle:
		s.applyBundle(c)
	case KindEntry:
		s.applyEntry(c)
	case KindNode, KindSelectors:
		s.applyNode(c)
	}
}

func (s *state) applyMalformed(c *change) {
	key, before := string(c.key), s.malformed.len
	if c.malformed != nil {
		s.malformed.set(hashString(key), key, c.malformed, s.own)
	} else {
		s.malformed.delete(hashString(key), key, s.own)
	}
	s.unread[c.kind] += s.malformed.len - before
}

// malformedAt returns the record under a key if it doesn't decode.
func (s *state) malformedAt(key []byte) *malformed {
	if s.malformed.len == 0 {
		return nil
	}
	if m := s.malformed.get(hashString(string(key)), string(key)); m != nil {
		return *m
	}
	return nil
}

func (s *state) applyBundle(c *change) {
	if c.bundle != nil {
		s.bundles.set(c.hash, c.id, bundle{message: c.bundle, number: c.number}, s.own)
	} else {
		s.bundles.delete(c.hash, c.id, s.own)
	}
	s.sizes[KindBundle] = s.bundles.len
}

func (s *state) applyEntry(c *change) {
	if old := s.entries.get(c.hash, c.id); old != nil {
		s.unlink(old)
	}
	if c.entry.message != nil {
		s.link(s.entries.set(c.hash, c.id, c.entry, s.own))
	} else {
		s.entries.delete(c.hash, c.id, s.own)
	}
	s.sizes[KindEntry] = s.entries.len
}

// link puts an entry where lists and lookups of agents find it.
func (s *state) link(e *entry) {
	s.order.add(e, s.own)
	switch e.role {
	case roleAlias:
		s.aliases.add(e, s.own)
	case roleChild:
		parent := e.message.ParentId
		s.place(hashString(parent), parent).children.add(e, s.own)
	case roleNone:
	}
}

func (s *state) unlink(e *entry) {
	s.order.remove(e, s.own)
	switch e.role {
	case roleAlias:
		s.aliases.remove(e, s.own)
	case roleChild:
		parent := e.message.ParentId
		hash := hashString(parent)
		p := s.places.edit(hash, parent, s.own)
		p.children.remove(e, s.own)
		s.tidy(hash, parent, p)
	case roleNone:
	}
}

// linked tells whether lists and lookups find an entry.
func (s *state) linked(e *entry) bool {
	if !s.order.contains(e) {
		return false
	}
	switch e.role {
	case roleAlias:
		return s.aliases.contains(e)
	case roleChild:
		p := s.places.get(hashString(e.message.ParentId), e.message.ParentId)
		return p != nil && p.children.contains(e)
	default:
		return true
	}
}

func (s *state) applyNode(c *change) {
	p := s.place(c.hash, c.id)
	var n Node
	if p.node != nil {
		n = *p.node
	}
	if c.kind == KindNode {
		s.sizes[KindNode] += one(c.node != nil) - one(n.Attested != nil)
		n.Attested, n.number = c.node, c.number
	} else {
		s.sizes[KindSelectors] += one(c.selectors != nil) - one(n.stored != nil)
		n.stored, n.Selectors, n.set, n.setNumber = c.selectors, nil, c.set, c.number
		if c.selectors != nil {
			n.Selectors = c.selectors.Selectors
		}
	}
	p.node = &n
	if n.Attested == nil && n.stored == nil {
		p.node = nil
	}
	s.tidy(c.hash, c.id, p)
}

// place returns the place of a SPIFFE ID to change, which may be new.
func (s *state) place(hash uint64, id string) *place {
	before := s.places.len
	p := s.places.edit(hash, id, s.own)
	if s.places.len == before {
		return p
	}
	if s.below == nil || s.below.room == 0 {
		// Places that are gone stay in the filter until it is full.
		s.below = newFilter(2 * s.places.len)
		s.places.hashes(s.below.add)
	} else {
		s.below.add(hash)
	}
	return p
}

// placeBelow returns the place at the SPIFFE ID of an entry, or nil.
func (s *state) placeBelow(e *entry) *place {
	if s.below == nil || !s.below.maybe(e.spiffeHash) {
		return nil
	}
	return s.places.get(e.spiffeHash, e.message.SpiffeId)
}

// tidy removes a place with nothing in it.
func (s *state) tidy(hash uint64, id string, p *place) {
	if p.node == nil && p.children.empty() {
		s.places.delete(hash, id, s.own)
	}
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

// find returns the object that is stored under the key of c, as the change that
// put it. It is a delete where there is none.
func (s *state) find(c *change) change {
	found := change{kind: c.kind, key: c.key, id: c.id, hash: c.hash}
	if found.malformed = s.malformedAt(c.key); found.malformed != nil {
		return found
	}
	switch c.kind {
	case KindBundle:
		if b := s.bundles.get(c.hash, c.id); b != nil {
			found.bundle, found.number = b.message, b.number
		}
	case KindEntry:
		if e := s.entries.get(c.hash, c.id); e != nil {
			found.entry = *e
		}
	case KindNode, KindSelectors:
		p := s.places.get(c.hash, c.id)
		if p == nil || p.node == nil {
			break
		}
		if c.kind == KindNode {
			found.node, found.number = p.node.Attested, p.node.number
		} else {
			found.selectors, found.number, found.set = p.node.stored, p.node.setNumber, p.node.set
		}
	}
	return found
}

// each calls yield with every object of a kind, as find returns it, until it
// returns false.
func (s *state) each(kind Kind, yield func(change) bool) {
	complete := true
	s.malformed.each(func(key string, m **malformed) bool {
		if k, ok := kindOf([]byte(key)); ok && k == kind {
			c := decodeDelete(kind, []byte(key))
			c.malformed = *m
			complete = yield(c)
		}
		return complete
	})
	id := func(id string, key func(string) []byte) bool {
		c := change{kind: kind, key: key(id), id: id, hash: hashString(id)}
		if c = s.find(&c); !c.absent() && c.malformed == nil {
			complete = yield(c)
		}
		return complete
	}
	if !complete {
		return
	}
	switch kind {
	case KindBundle:
		s.bundles.each(func(k string, _ *bundle) bool { return id(k, records.Bundles.Key) })
	case KindEntry:
		s.entries.each(func(k string, _ *entry) bool { return id(k, records.Entries.Key) })
	case KindNode:
		s.places.each(func(k string, _ *place) bool { return id(k, records.Nodes.Key) })
	case KindSelectors:
		s.places.each(func(k string, _ *place) bool { return id(k, records.NodeSelectorSets.Key) })
	}
}
