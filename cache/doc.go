// Package cache answers from memory what agents ask of a SPIRE server: bundles,
// entries by id, nodes by SPIFFE ID, and the entries that an agent may have. It
// runs on any [store.Store].
//
//	c, err := cache.Open(ctx, s, cache.Config{TrustDomain: td})
//	...
//	view, err := c.View(ctx, store.Linearizable())
//	...
//	view.VisitAuthorized(agent, func(e *spirev1.RegistrationEntry) bool {
//		...
//		return true
//	})
//
// # Guarantees
//
// A [View] is the content of the store at one revision, whole: never half of a
// transaction, and never two revisions in one visit. The revisions of a cache
// only go forward, unless the store is restored from a backup.
//
// A View is as fresh as its reader asks: linearizable, at least at some
// revision, or whatever is there, which is at most [Config.StalenessMax] old.
// Anything that can't be had is an error, never an older answer.
//
// Objects are decoded once, shared by all readers, and never copied or changed
// afterwards. Reading takes no lock and, but for slices returned, allocates
// nothing.
//
// A record that doesn't decode is logged and counted, and its object is answered
// with the error. All others are served.
//
// # How it stays coherent
//
// The cache lists the store in a read-only transaction and watches it from there
// on, without a gap. Each batch of the watch makes a new [View] from the one
// before, sharing all that is equal. Where the watch ends, it is resumed where it
// was or, if the history is gone, the cache is rebuilt in the background from a
// listing, serving all the while within StalenessMax.
//
// Beyond that, a full refresh on an interval compares all objects with the store
// at one revision, reports every difference and repairs it: see [Cache.Refresh].
//
// # Not here
//
// The cache doesn't write, doesn't list by filters, and doesn't hold join
// tokens, events, federation relationships or CA journals.
//
// Start reading at [Cache.View], then authorized.go and state.go. aliases.go
// has the index by the rarest selector, pmap.go the immutable map that all of
// it is built on.
package cache
