// Package datastore is SPIRE's DataStore on a [store.Store]: bundles,
// registration entries, attested nodes and their selectors, join tokens,
// federation relationships, CA journals, and the events of entries and nodes.
//
// # Guarantees
//
// A call is one transaction, with the events that it emits: on error nothing has
// changed, unless the error is [store.ErrUnknownOutcome]. Those that touch any
// number of objects take several transactions where there are many, and may end
// half done: the prunes, but for that of a bundle, DeleteBundle and the import.
// Calls that run into each other, on this or other servers, are repeated inside
// until they succeed or their context ends.
//
// Reads see every write that was done before they began, on any server. Those
// with a [DataConsistency] may be told to tolerate what was true
// [Config.StaleMax] ago. Neither changes with a [Config.Cache], which only makes
// some reads faster.
//
// Messages given to a method are neither kept nor changed, not even in the
// caches that protobuf keeps in them. Those returned belong to the caller.
//
// # Errors
//
// Codes and texts are those of SPIRE's SQL DataStore, since its callers and its
// tests look at them. Whatever the code, the errors of the store and of the
// context are in the chain, for errors.Is.
//
// A stored record that can't be decoded takes no others down: lists and prunes
// deal with all others, and name it in a [MalformedRecordsError], which comes
// along with the list.
//
// # Where to start reading
//
// collection.go has what all kinds of object share: an object with its indexes
// and its number, in a transaction. list.go lists and counts them, by filters.go
// and the indexes that postings.go reads. bundles.go shows how a kind of object
// uses them.
package datastore
