// Package memstore is a [store.Store] in memory: the reference that other
// backends are compared with, and a store for tests of code that needs one.
//
// It keeps to the letter of the contract, and of the rules of package txn,
// with the least machinery: one lock, a copy-on-write tree, and a list of
// changes. It is always linearizable and never stale, on one process's data
// that is gone with the process. Conflict checks walk every change since the
// transaction's snapshot, so it is not built for load.
//
// Start reading at [Store], then commit.go.
package memstore
