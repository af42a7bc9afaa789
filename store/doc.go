// Package store is the contract between SPIRE's DataStore and whatever keeps
// its data: a revisioned, transactional, watchable key-value store over
// []byte keys and values.
//
// It has eight verbs: Put, Get, Delete and Count, each for one key, several or
// a prefix; Begin, Commit and Abort for serializable transactions; and Watch
// for an ordered, gap-free stream of changes. Read [Store] and [Tx] first:
// their comments are the contract. [View] and [Update] are how most callers
// use it; Update runs its function again when a concurrent change got in
// between.
//
// # Guarantees
//
// Every committed transaction that changes a key gets the next [Revision]. Transactions
// are serializable and, by default, linearizable. A reader may ask for a
// bounded age or a least revision instead (see [Consistency]) and gets an error
// rather than data that is older. A write whose outcome cannot be known ends
// in [ErrUnknownOutcome], never in an error that says that it failed.
//
// # What it is not
//
// It has no secondary indexes, no query language and no leases: indexes are
// keys that the same transaction writes (package keys lays them out).
//
// Backends prove themselves with the suite in package storetest. Package txn
// holds the part of a backend that all of them need: the transaction that
// buffers writes over a snapshot and remembers what it read.
package store
