package store

import "context"

// Store is a revisioned, transactional key-value store. Its methods may be
// called concurrently.
//
// Keys have 1 to [KeyBytesMax] bytes and are ordered byte by byte. Values may be
// empty. A Store keeps none of the slices it is given after a method returns
// (for a transaction: after Commit or Abort returns), and the slices it returns
// belong to the caller.
//
// After Close every method returns [ErrClosed]. A context that ends ends the
// call with its error, except where the call is a write that may have been
// sent: that ends in [ErrUnknownOutcome], which then wraps the context's error
// too. Calls without a deadline get one from the backend.
type Store interface {
	// Put stores pairs in one transaction, whatever was there before, and
	// returns its revision. Putting a value that is already there is a change
	// like any other. Of two pairs with one key the last wins.
	Put(ctx context.Context, pairs ...Pair) (Revision, error)

	// Get returns the pairs whose keys lie in the ranges, all from one
	// snapshot, and the snapshot's revision: range by range as given, each in
	// key order. A key without a value is left out. [Key] makes a range of one
	// key, [Prefix] one of a prefix. Results over [ScanBytesMax] end in
	// ErrTooLarge: page through them with [Tx.Scan].
	Get(ctx context.Context, c Consistency, ranges ...Range) ([]KeyValue, Revision, error)

	// Delete removes every key in the ranges in one transaction. It returns
	// how many there were and the revision of the transaction; where there was
	// none, a revision at which there was none. It runs again by itself on
	// conflict, like [Update].
	Delete(ctx context.Context, ranges ...Range) (int, Revision, error)

	// Count returns how many keys lie in the ranges, adding up range by range,
	// and the revision at which that was so.
	Count(ctx context.Context, c Consistency, ranges ...Range) (int, Revision, error)

	Transactor

	// Watch returns the changes after a cursor whose keys have one of the
	// prefixes; without a prefix, all changes. The cursor of a transaction
	// gives the changes after what the transaction read; the zero cursor gives
	// all changes since the store was empty. A cursor ahead of this server
	// waits for it. Where the history is gone, or the cursor is of another
	// epoch, Watch or the first Next ends in ErrCompacted.
	//
	// The watcher is independent of ctx once Watch has returned. The server
	// may refuse with ErrTooManyWatchers.
	Watch(ctx context.Context, after Cursor, prefixes ...[]byte) (Watcher, error)

	// Close ends every watcher and transaction, and releases everything. It
	// waits for what it ends, and may be called again.
	Close() error
}

// Transactor is the part of a [Store] that [View] and [Update] need.
type Transactor interface {
	// Begin starts a transaction. Abort it or Commit it: until then it holds
	// resources.
	Begin(ctx context.Context, opts TxOptions) (Tx, error)

	// Revision returns the revision of a snapshot that is as fresh as c
	// demands. A reader of anything that has reached it, such as a cache fed
	// by Watch, is as fresh.
	Revision(ctx context.Context, c Consistency) (Revision, error)
}

// Pair is a key and the value to store under it.
type Pair struct {
	Key   []byte
	Value []byte
}

// KeyValue is a pair as it was read.
type KeyValue struct {
	Key   []byte
	Value []byte

	// ModRevision is the revision of the transaction that put Value. It is
	// zero for what the reading transaction itself has put.
	ModRevision Revision
}

// Watcher is a stream of changes. One goroutine may call Next while others
// call Close.
type Watcher interface {
	// Next waits for the next batch and returns it. Batches come in revision
	// order, without gap or duplicate, one revision each, never split. A watch
	// that is resumed with a batch's cursor, on any server, goes on right
	// behind it.
	//
	// Next ends in ErrCompacted when the watcher has fallen behind the
	// retained history, in ErrClosed after Close, and in the context's error
	// when ctx ends, after which Next may be called again.
	Next(ctx context.Context) (Batch, error)

	// Close releases the watcher. It may be called again.
	Close() error
}

// Batch is what one transaction changed, as far as the watcher's prefixes go.
type Batch struct {
	// Cursor is behind the batch: resuming from it delivers what follows.
	Cursor Cursor

	// Events are the changes in key order, at most one for each key. A batch
	// without events is a progress mark: up to Cursor there is nothing more to
	// come. Marks come at least every [ProgressIntervalMax] while nothing
	// else does.
	Events []Event
}

// Event is the change of one key.
type Event struct {
	Kind EventKind
	Key  []byte

	// Value is the new value. It is nil for a delete.
	Value []byte
}

// EventKind tells puts from deletes.
type EventKind uint8

// The kinds of event.
const (
	EventPut EventKind = iota + 1
	EventDelete
)

// String returns "put" or "delete".
func (k EventKind) String() string {
	if k == EventDelete {
		return "delete"
	}
	return "put"
}
