package store

import "fmt"

// Revision numbers the committed transactions that changed a key: 1 for the first
// one, then each one more than the last, the same on every server. Revision 0
// is the empty store. It is not an index of the replicated log.
type Revision uint64

// Epoch numbers the lives of a cluster's data. It starts at 1, and a restore
// from a backup begins the next one, since revisions after it may repeat.
type Epoch uint64

// Cursor is a place in a store's history. Its zero value is the place before
// the first revision, of whatever epoch.
type Cursor struct {
	// Epoch is the life of the data that Revision belongs to. Zero matches
	// every epoch.
	Epoch    Epoch
	Revision Revision
}

// String formats c for logs, as epoch/revision.
func (c Cursor) String() string { return fmt.Sprintf("%d/%d", c.Epoch, c.Revision) }
