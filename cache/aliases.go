package cache

import (
	"math/bits"
	"slices"
)

// aliasIndex finds the node aliases that apply to a node: those whose selectors
// are all among the node's. It is persistent, as [pmap] is.
//
// Aliases with the same selectors form a group, which is compared with a node
// once. A group is kept at only one of its selectors, the rarest: the one in the
// fewest groups. A node is compared with the groups at its own selectors, so a
// selector that all aliases share costs nothing, however many nodes have it, as
// long as each alias has a rarer one.
//
// What is rare changes as aliases come and go. Whenever the count of a selector
// has doubled, the groups kept at it look for a rarer one. That costs a constant
// per selector of an added group, on average.
type aliasIndex struct {
	groups  pmap[string, *aliasGroup]      // by setKey
	buckets pmap[selectorKey, aliasBucket] // every selector of a group has one
	len     int                            // of aliases, in all groups
}

// aliasGroup is the aliases with one set of selectors.
type aliasGroup struct {
	selectors []selectorRef // not empty
	aliases   entryList
	home      selectorRef // whose bucket the group is in
}

// aliasBucket belongs to a selector.
type aliasBucket struct {
	count  int           // groups that have the selector
	groups []*aliasGroup // those of them that are kept here
}

// each calls yield for the aliases that apply to a node with the given selectors.
// It goes on whatever yield returns.
func (x *aliasIndex) each(node []selectorRef, yield func(*entry) bool) {
	if x.len == 0 {
		return
	}
	for _, r := range node {
		for l := x.buckets.chain(r.hash); l != nil; l = l.next {
			if l.key != r.key() {
				continue
			}
			for _, g := range l.value.groups {
				if subset(g.selectors, node) {
					g.aliases.each(yield)
				}
			}
		}
	}
}

// add takes in an alias. One without selectors never applies, so it isn't kept.
func (x *aliasIndex) add(e *entry, own bool) {
	set := selectorSet(e.message.Selectors)
	if len(set) == 0 {
		return
	}
	x.len++
	key := setKey(set)
	hash := hashString(key)
	if found := x.groups.get(hash, key); found != nil {
		g := *found
		if own {
			g.aliases.add(e, own)
			return
		}
		changed := *g
		changed.aliases.add(e, own)
		x.groups.set(hash, key, &changed, own)
		x.exchange(g, &changed, own)
		return
	}

	g := &aliasGroup{selectors: set}
	g.aliases.add(e, own)
	x.groups.set(hash, key, g, own)
	for _, r := range set {
		x.buckets.edit(r.hash, r.key(), own).count++
	}
	g.home = x.rarest(g)
	x.exchange(nil, g, own)
	for _, r := range set {
		x.spread(r, own)
	}
}

// remove takes out an alias, and tells whether it was there.
func (x *aliasIndex) remove(e *entry, own bool) bool {
	set := selectorSet(e.message.Selectors)
	key := setKey(set)
	hash := hashString(key)
	found := x.groups.get(hash, key)
	if found == nil {
		return false
	}
	g := *found
	changed := *g
	if !changed.aliases.remove(e, false) {
		return false
	}
	x.len--
	if !changed.aliases.empty() {
		x.groups.set(hash, key, &changed, own)
		x.exchange(g, &changed, own)
		return true
	}
	x.groups.delete(hash, key, own)
	x.exchange(g, nil, own)
	for _, r := range set {
		b := x.buckets.edit(r.hash, r.key(), own)
		if b.count--; b.count == 0 {
			x.buckets.delete(r.hash, r.key(), own)
		}
	}
	return true
}

// contains tells whether an alias is where each finds it.
func (x *aliasIndex) contains(e *entry) bool {
	set := selectorSet(e.message.Selectors)
	if len(set) == 0 {
		return true
	}
	key := setKey(set)
	found := x.groups.get(hashString(key), key)
	if found == nil || !(*found).aliases.contains(e) {
		return false
	}
	b := x.buckets.get((*found).home.hash, (*found).home.key())
	if b == nil {
		return false
	}
	return slices.Contains(b.groups, *found)
}

// exchange replaces a group in its bucket by another: nil stands for none.
func (x *aliasIndex) exchange(old, changed *aliasGroup, own bool) {
	if old != nil {
		b := x.buckets.edit(old.home.hash, old.home.key(), own)
		if i := slices.Index(b.groups, old); i >= 0 {
			b.groups = removed(b.groups, i, own)
		}
	}
	if changed != nil {
		b := x.buckets.edit(changed.home.hash, changed.home.key(), own)
		b.groups = inserted(b.groups, len(b.groups), changed, own)
	}
}

// rarest returns the selector of g that is in the fewest groups.
func (x *aliasIndex) rarest(g *aliasGroup) selectorRef {
	best, fewest := g.selectors[0], -1
	for _, r := range g.selectors {
		if n := x.buckets.get(r.hash, r.key()).count; fewest < 0 || n < fewest {
			best, fewest = r, n
		}
	}
	return best
}

// spread moves groups from the bucket of a selector to rarer ones, if the
// selector's count has just doubled.
func (x *aliasIndex) spread(r selectorRef, own bool) {
	b := x.buckets.get(r.hash, r.key())
	if b.count < 2 || bits.OnesCount(uint(b.count)) != 1 {
		return
	}
	for _, g := range append([]*aliasGroup(nil), b.groups...) {
		home := x.rarest(g)
		if home.compare(r) == 0 {
			continue
		}
		moved := *g
		moved.home = home
		key := setKey(g.selectors)
		x.groups.set(hashString(key), key, &moved, own)
		x.exchange(g, &moved, own)
	}
}
