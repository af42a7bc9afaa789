package cache

import (
	"context"
	"time"

	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/store"
)

// OpenSegments is Open with listings whose transactions end after a time.
func OpenSegments(ctx context.Context, s store.Store, cfg Config, segmentMax time.Duration) (*Cache, error) {
	return open(ctx, s, cfg, segmentMax)
}

// FirstView is what OpenSegments begins with, before it follows the store.
func FirstView(ctx context.Context, s store.Store, cfg Config, segmentMax time.Duration) (View, error) {
	cfg.fill()
	first, w, err := newCache(s, cfg, segmentMax).openState(ctx)
	if err != nil {
		return View{}, err
	}
	return View{first}, w.Close()
}

// Plant puts a value into the cache, or deletes it if nil, behind the store's back.
func (c *Cache) Plant(key, value []byte) {
	kind, _ := kindOf(key)
	ch := decodeDelete(kind, key)
	if value != nil {
		ch = c.roles.decode(kind, key, value)
	}
	c.write.Lock()
	defer c.write.Unlock()
	s := c.state.Load().next()
	s.apply(&ch)
	c.publishLocked(s)
}

// Misplace hides an entry from lookups of agents.
func (c *Cache) Misplace(id string) {
	c.write.Lock()
	defer c.write.Unlock()
	s := c.state.Load().next()
	s.unlink(s.entries.get(hashString(id), id))
	c.publishLocked(s)
}

// Disorder hides an entry from lists.
func (c *Cache) Disorder(id string) {
	c.write.Lock()
	defer c.write.Unlock()
	s := c.state.Load().next()
	s.order.remove(s.entries.get(hashString(id), id), s.own)
	c.publishLocked(s)
}

// BeforeRepair runs fn between comparison and repair of refreshes.
func (c *Cache) BeforeRepair(fn func()) { c.beforeRepair = fn }

// Dump returns the value of every object and malformed record, by key. A
// malformed one has the digest for a value.
func (v View) Dump() map[string]string {
	out := make(map[string]string)
	for kind := range Kind(kinds) {
		v.s.each(kind, func(c change) bool {
			if c.malformed != nil {
				out[string(c.key)] = c.malformed.hash.String()
			} else {
				out[string(c.key)] = string(encoded(&c))
			}
			return true
		})
	}
	return out
}

// Misplaced returns how many entries are not where lookups find them.
func (v View) Misplaced() int { return len((*Cache)(nil).misplaced(v.s)) }

// Groups returns how many groups of aliases a node with the selectors of id is
// compared with.
func (v View) Groups(id string) int {
	n := 0
	for _, r := range v.s.places.get(hashString(id), id).node.set {
		if b := v.s.aliases.buckets.get(r.hash, r.key()); b != nil {
			n += len(b.groups)
		}
	}
	return n
}

// Places returns how many SPIFFE IDs something is known about, and how many
// selectors aliases have.
func (v View) Places() (places, selectors int) { return v.s.places.len, v.s.aliases.buckets.len }

// Map is the persistent map, for its own test.
type Map = pmap[string, int]

// MapSet, MapGet, MapDelete and MapEach give access to a Map.
func MapSet(m *Map, hash uint64, key string, value int, own bool) { m.set(hash, key, value, own) }
func MapGet(m *Map, hash uint64, key string) *int                 { return m.get(hash, key) }
func MapDelete(m *Map, hash uint64, key string, own bool) bool    { return m.delete(hash, key, own) }
func MapEach(m *Map, yield func(string, *int) bool)               { m.each(yield) }
func MapLen(m *Map) int                                           { return m.len }

// Order is the trie of entries by number, for its own test.
type Order = order

// OrderAdd and OrderRemove change an Order by an entry of which they make
// or take the object.
func OrderAdd(o *Order, number uint64, id string, own bool) any {
	e := &entry{number: number, message: &spirev1.RegistrationEntry{EntryId: id}}
	o.add(e, own)
	return e
}

func OrderRemove(o *Order, e any, own bool) { o.remove(e.(*entry), own) }
func OrderContains(o *Order, e any) bool    { return o.contains(e.(*entry)) }
func OrderTotal(o *Order) bool              { return o.total() }
func OrderEach(o *Order, yield func(id string)) {
	o.each(func(e *entry) bool { yield(e.message.EntryId); return true })
}
func OrderVisit(o *Order, after uint64, yield func(number uint64) bool) {
	o.visit(after, func(e *entry) bool { return yield(e.number) })
}

// RebuiltView is what a cache that has reached prev publishes after a rebuild.
func RebuiltView(ctx context.Context, s store.Store, cfg Config, prev store.Cursor) (View, error) {
	cfg.fill()
	rebuilt, w, err := newCache(s, cfg, segmentMax).build(ctx, prev)
	if err != nil {
		return View{}, err
	}
	return View{rebuilt}, w.Close()
}
