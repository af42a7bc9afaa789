package cache

import "github.com/spire-raft/spire-raft/records"

// repair puts in what a comparison found to be right, in one step. What a later
// revision has changed since is right already.
func (c *Cache) repair(found []drift) {
	c.write.Lock()
	defer c.write.Unlock()
	current := c.state.Load()
	if current == nil {
		return // closed
	}
	next := current.next()
	misplaced := false
	for _, d := range found {
		now := current.find(&d.cached)
		if d.Cached == d.Stored {
			misplaced = true
		} else if now.same(&d.cached) {
			next.apply(&d.correct)
		}
	}
	if misplaced {
		next = current.relinked()
	}
	c.publishLocked(next)
}

// misplaced returns the entries that lists or lookups of agents don't find where
// they belong, or find and should not.
func (c *Cache) misplaced(s *state) []drift {
	var found []drift
	report := func(e *entry) {
		ch := change{kind: KindEntry, id: e.message.EntryId, entry: *e, hash: hashString(e.message.EntryId)}
		ch.key = records.Entries.Key(ch.id)
		d := drift{Drift: Drift{Kind: KindEntry, Key: ch.key, Revision: s.cursor.Revision}, cached: ch}
		d.Cached = ch.digest()
		d.Stored = d.Cached
		found = append(found, d)
	}
	s.entries.each(func(_ string, e *entry) bool {
		if !s.linked(e) {
			report(e)
		}
		return true
	})
	check := func(e *entry) bool {
		if id := e.message.EntryId; s.entries.get(hashString(id), id) != e {
			report(e)
		}
		return true
	}
	s.order.each(check)
	s.places.each(func(_ string, p *place) bool { p.children.each(check); return true })
	s.aliases.groups.each(func(_ string, g **aliasGroup) bool { (*g).aliases.each(check); return true })
	return found
}

// relinked returns a state with the same objects, and everything that follows
// from them made anew.
func (s *state) relinked() *state {
	n := &state{cursor: s.cursor, roles: s.roles, own: true}
	for kind := range Kind(kinds) {
		s.each(kind, func(c change) bool {
			n.apply(&c)
			return true
		})
	}
	return n
}
