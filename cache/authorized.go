package cache

import (
	"slices"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
)

// VisitAuthorized calls yield for every entry that an agent may have, each once,
// until yield returns false. It allocates nothing.
//
// These are the entries whose parent is the agent, the entries whose parent is
// the SPIFFE ID of one of those, and so on. Node aliases, which are the entries
// with the parent /spire/server, are not among them: the SPIFFE ID of an alias
// stands for every node whose selectors include all of the alias', of which there
// must be one. That goes for the agent and for every node whose SPIFFE ID is
// reached on the way, unless it has expired by now or was never attested.
//
// An unknown agent has no selectors, and one of another trust domain no entries.
// Nor has anyone an entry whose parent or SPIFFE ID is no SPIFFE ID of the
// server's trust domain. Entries that have expired are given out until they are
// deleted.
func (v View) VisitAuthorized(agent spiffeid.ID, yield func(*spirev1.RegistrationEntry) bool) {
	w := walks.Get().(*walk)
	defer w.release()
	w.from(v.s, agent)
	for p := w.pop(); p != nil; p = w.pop() {
		if !w.expand(p, yield) {
			return
		}
	}
}

// VisitAuthorizedOf is [View.VisitAuthorized] for the entries with the given
// ids. It ends as soon as it has them all. It allocates nothing for few ids.
func (v View) VisitAuthorizedOf(agent spiffeid.ID, ids []string, yield func(*spirev1.RegistrationEntry) bool) {
	w := walks.Get().(*walk)
	defer w.release()
	for _, id := range ids {
		if e := v.s.entries.get(hashString(id), id); e != nil && e.role == roleChild {
			w.wanted.add(e.message)
		}
	}
	missing := w.wanted.len()
	if missing == 0 {
		return
	}
	visit := func(e *spirev1.RegistrationEntry) bool {
		if !w.wanted.has(e) {
			return true
		}
		missing--
		return yield(e) && missing > 0
	}
	w.from(v.s, agent)
	for p := w.pop(); p != nil; p = w.pop() {
		if !w.expand(p, visit) {
			return
		}
	}
}

// walk is the memory of one visit. Every place that is reached is pushed once.
type walk struct {
	s     *state
	now   int64 // Unix seconds, 0 until it is needed
	stack []*place
	seen  pointerSet[place]

	wanted pointerSet[spirev1.RegistrationEntry]
}

var walks = sync.Pool{New: func() any { return new(walk) }}

// release drops every reference into the state.
func (w *walk) release() {
	w.s, w.now = nil, 0
	clear(w.stack[:cap(w.stack)])
	w.stack = w.stack[:0]
	w.seen.reset()
	w.wanted.reset()
	if cap(w.stack) <= pointerSetKept {
		walks.Put(w)
	}
}

func (w *walk) from(s *state, agent spiffeid.ID) {
	w.s = s
	if agent.MemberOf(s.roles.trustDomain) {
		id := agent.String()
		w.push(s.places.get(hashString(id), id))
	}
}

func (w *walk) push(p *place) {
	if p != nil && w.seen.add(p) {
		w.stack = append(w.stack, p)
	}
}

func (w *walk) pop() *place {
	last := len(w.stack) - 1
	if last < 0 {
		return nil
	}
	p := w.stack[last]
	w.stack = w.stack[:last]
	return p
}

// expand gives out the children of a place and pushes what lies below it.
func (w *walk) expand(p *place, yield func(*spirev1.RegistrationEntry) bool) bool {
	if n := p.node; n != nil && len(n.set) > 0 && w.s.aliases.len > 0 && w.alive(n) {
		w.pushAliases(n.set)
	}
	if !w.give(p.children.flat, yield) {
		return false
	}
	for _, chunk := range p.children.chunks {
		if !w.give(chunk, yield) {
			return false
		}
	}
	return true
}

func (w *walk) give(entries []*entry, yield func(*spirev1.RegistrationEntry) bool) bool {
	for _, e := range entries {
		w.push(w.s.placeBelow(e))
		if !yield(e.message) {
			return false
		}
	}
	return true
}

// alive tells whether the selectors of a node count.
func (w *walk) alive(n *Node) bool {
	if n.Attested == nil {
		return false
	}
	if w.now == 0 {
		w.now = time.Now().Unix()
	}
	return n.Attested.CertNotAfter > w.now
}

// pushAliases pushes the places of the aliases that apply to a node.
func (w *walk) pushAliases(node []selectorRef) {
	w.s.aliases.each(node, func(e *entry) bool {
		w.push(w.s.placeBelow(e))
		return true
	})
}

const (
	pointerSetFew  = 16   // are looked through one by one
	pointerSetKept = 1024 // more are left to the garbage collector
)

// pointerSet is a set that allocates only where it grows beyond few, and then is
// reused.
type pointerSet[T any] struct {
	few  []*T
	many map[*T]struct{} // all, where there are more
}

// add puts p in and tells whether it wasn't there.
func (s *pointerSet[T]) add(p *T) bool {
	if s.has(p) {
		return false
	}
	if len(s.many) == 0 && len(s.few) < pointerSetFew {
		s.few = append(s.few, p)
		return true
	}
	if s.many == nil {
		s.many = make(map[*T]struct{}, 4*pointerSetFew)
	}
	for _, f := range s.few {
		s.many[f] = struct{}{}
	}
	s.few = s.few[:0]
	s.many[p] = struct{}{}
	return true
}

func (s *pointerSet[T]) has(p *T) bool {
	if len(s.many) == 0 {
		return slices.Contains(s.few, p)
	}
	_, found := s.many[p]
	return found
}

func (s *pointerSet[T]) len() int { return max(len(s.few), len(s.many)) }

func (s *pointerSet[T]) reset() {
	if len(s.many) > pointerSetKept {
		s.many = nil
	}
	clear(s.many)
	clear(s.few[:cap(s.few)])
	s.few = s.few[:0]
}
