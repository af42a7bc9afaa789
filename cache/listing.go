package cache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spire-raft/spire-raft/store"
)

const (
	pageMax = 2048 // pairs that a listing reads at once

	// segmentMax leaves a transaction time to end before it expires.
	segmentMax = store.TxDurationMax * 6 / 10
)

// errEpoch: the store was restored from a backup while it was being listed.
var errEpoch = errors.New("the store's epoch changed during a listing")

// listing reads all items of all kinds, page by page, in key order within each
// kind. It uses one transaction as long as it can, then the next: each is a
// segment, at a revision of its own.
type listing struct {
	store       store.Store
	consistency store.Consistency // of the segments' transactions
	segmentMax  time.Duration
	limit       int // pairs per page

	tx     store.Tx // of the current segment, nil between segments
	ends   time.Time
	pages  int          // read in the current segment: at least one, so that there is progress
	cursor store.Cursor // of the current or last segment
	first  store.Cursor // of the first segment

	kind Kind        // kinds at the end
	rest store.Range // what is left of kind
}

func newListing(s store.Store, c store.Consistency, segment time.Duration) *listing {
	return &listing{store: s, consistency: c, segmentMax: segment, limit: pageMax, rest: store.Prefix(prefixes[0])}
}

// begin starts the next segment, if there is none.
func (l *listing) begin(ctx context.Context) error {
	if l.tx != nil {
		return nil
	}
	tx, err := l.store.Begin(ctx, store.TxOptions{ReadOnly: true, Consistency: l.consistency})
	if err != nil {
		return fmt.Errorf("begin a listing: %w", err)
	}
	cursor, err := tx.Cursor(ctx)
	if err != nil {
		tx.Abort()
		return fmt.Errorf("begin a listing: %w", err)
	}
	if l.first == (store.Cursor{}) {
		l.first = cursor
	}
	if cursor.Epoch != l.first.Epoch {
		tx.Abort()
		return errEpoch
	}
	l.tx, l.cursor, l.ends, l.pages = tx, cursor, time.Now().Add(l.segmentMax), 0
	// What follows must not be older, or changes in between would be lost.
	l.consistency = store.AtLeast(cursor.Revision)
	return nil
}

// page returns the next pairs of the current segment, all of one kind, or none at
// the segment's end. The caller must look at done then.
func (l *listing) page(ctx context.Context) (Kind, []store.KeyValue, error) {
	for !l.done() && (l.pages == 0 || time.Now().Before(l.ends)) {
		kvs, err := l.tx.Scan(ctx, l.rest, l.limit)
		if errors.Is(err, store.ErrTooLarge) && l.limit > 1 {
			l.limit = max(l.limit/8, 1)
			continue
		}
		if errors.Is(err, store.ErrTxExpired) && l.pages > 0 {
			break // the pairs read so far are good
		}
		if err != nil {
			return 0, nil, fmt.Errorf("list %v: %w", l.kind, err)
		}
		l.pages++
		kind := l.kind
		if len(kvs) < l.limit {
			l.kind++
			if !l.done() {
				l.rest = store.Prefix(prefixes[l.kind])
			}
		} else {
			l.rest = l.rest.After(kvs[len(kvs)-1].Key)
		}
		if len(kvs) > 0 {
			return kind, kvs, nil
		}
	}
	return 0, nil, nil
}

// done tells whether everything is listed.
func (l *listing) done() bool { return l.kind == kinds }

// end ends the current segment, if there is one.
func (l *listing) end() {
	if l.tx != nil {
		l.tx.Abort()
		l.tx = nil
	}
}
