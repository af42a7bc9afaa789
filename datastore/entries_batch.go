package datastore

import (
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/store"
)

// What touches any number of entries does so in transactions of at most this.
// It stays well below what a transaction may be: large ones hold up the others.
const (
	batchEntriesMax = 1000
	batchOpsMax     = store.TxOpsMax / 2
	batchBytesMax   = store.TxBytesMax / 2
)

// batch counts what a transaction does to entries.
type batch struct{ entries, ops, bytes int }

// take adds the creation, dissociation or deletion of e. It returns false where
// that would be too much for one transaction. A single entry never is: either it
// fits, or it couldn't have been stored.
func (b *batch) take(e *spirev1.RegistrationEntry) bool {
	const (
		opsMin     = 10 // the item, the event, two numbers, and the indexes that have one value
		bytesPerOp = 80 // of a key and what is stored with it, besides the values of fields
	)
	text := len(e.SpiffeId) + len(e.ParentId) + len(e.Hint)
	for _, s := range e.Selectors {
		text += len(s.Type) + len(s.Value)
	}
	for _, id := range e.FederatesWith {
		text += len(id)
	}
	for _, name := range e.DnsNames {
		text += len(name)
	}
	ops := opsMin + len(e.Selectors) + len(e.FederatesWith)
	// A text is in the item, in an index and, at most, in two ranges read.
	more := batch{b.entries + 1, b.ops + ops, b.bytes + ops*(bytesPerOp+len(e.EntryId)) + 4*text}
	if b.entries > 0 && (more.entries > batchEntriesMax || more.ops > batchOpsMax || more.bytes > batchBytesMax) {
		return false
	}
	*b = more
	return true
}
