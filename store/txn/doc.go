// Package txn is the half of a store backend that all of them share: the
// transaction that buffers writes over a snapshot and remembers what it has
// read (optimistic concurrency control), the limits, and the one-shot verbs.
//
// A backend supplies snapshots and a way to commit an [Intent], and embeds a
// [Runner]; it adds Watch, Revision and Close. The committer decides, at one
// point in the order of all commits, whether what the transaction has read is
// still so:
//
//   - each [Point] must have the ModRevision that was read, 0 meaning absent;
//   - no key in a range of [Intent.Ranges] may have been put or deleted after
//     [Intent.ReadRevision], and the history since then must still be known.
//
// The scheme is that of FoundationDB's resolvers and of Kung and Robinson, "On
// Optimistic Methods for Concurrency Control" (1981), backward validation.
package txn
