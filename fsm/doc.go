// Package fsm is the deterministic state machine of a server: what the entries
// of the replicated log do to its data, and the database file (bbolt) that
// keeps it. It knows neither network nor consensus; whoever feeds it decides
// the order of the entries.
//
// A [Machine] is a function of its log. Two machines that have applied the same
// entries hold the same records and report the same [StateHash], however the
// entries were grouped into calls of [Machine.Apply] and whether they came as
// entries or inside a snapshot. Nothing here looks at a clock, at random
// numbers, at the environment or at the order of a map: times that matter are
// stamped into commands by the leader.
//
// # Guarantees
//
// What is applied is in a layer in memory first, and goes to the file from time
// to time, in one database transaction with the applied index at which it is
// whole. So an entry takes effect exactly once, also across crashes, if whoever
// feeds the machine can feed what is behind [Machine.DurableIndex] again. The
// applied index goes down by a crash alone.
//
// Every record carries checksums, verified when it is read, and Open verifies
// the whole file, so damage surfaces as [store.ErrCorrupt] and never as data.
// An entry of a later version stops the machine with [ErrTooNew] before it is
// applied. An error of Apply is final: it latches, and only a new Open, on a
// repaired disk or with a newer program, goes on.
//
// # Where to start reading
//
// [Machine.Apply] is in apply.go, how what it does gets to the disk in flush.go,
// what views see of it in version.go and bucket.go, what a transaction does in
// transaction.go, the records in record.go, the state hash in sum.go.
// docs/FORMATS.md has the byte layouts.
package fsm
