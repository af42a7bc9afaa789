package fsm

import (
	"bytes"

	"go.etcd.io/bbolt"
)

// bucket is one bucket within a database transaction.
type bucket struct {
	id     bucketID
	bolt   *bbolt.Bucket
	cursor *bbolt.Cursor
}

func openBucket(tx *bbolt.Tx, id bucketID) (bucket, error) {
	b := tx.Bucket([]byte(id.String()))
	if b == nil {
		return bucket{}, corrupt(id, nil, "the bucket is missing")
	}
	return bucket{id: id, bolt: b, cursor: b.Cursor()}, nil
}

// find returns the record of key, not verified, or nil.
func (b *bucket) find(key []byte) ([]byte, error) {
	at, record := b.cursor.Seek(key)
	if bytes.Equal(at, key) {
		return record, nil
	}
	_, err := b.verifyGap(key, at, record)
	return nil, err
}

// seek returns the first key at or behind the given one, and its record, not
// verified, or nil. The cursor is there then.
func (b *bucket) seek(key []byte) (at, record []byte, err error) {
	at, record = b.cursor.Seek(key)
	if bytes.Equal(at, key) && at != nil {
		return at, record, nil
	}
	first, err := b.verifyGap(key, at, record)
	if err != nil {
		return nil, nil, err
	}
	if first {
		b.cursor.First()
	} else {
		b.cursor.Next()
	}
	return at, record, nil
}

// verifyGap verifies that there is no key, where Seek has found the one behind
// it, or nil. The neighbours must be on the right sides of key and pass their
// checksums: otherwise a damaged key, of a record or in the index above, would
// make the search miss. It moves the cursor to the key before; first tells that
// there is none.
func (b *bucket) verifyGap(key, behind, record []byte) (first bool, err error) {
	if behind != nil {
		if bytes.Compare(behind, key) < 0 {
			return false, corrupt(b.id, behind, "the key is out of order")
		}
		if err := verifyHead(b.id, behind, record); err != nil {
			return false, err
		}
	}
	before, record := b.cursor.Prev()
	if before == nil {
		return true, nil
	}
	if bytes.Compare(before, key) >= 0 {
		return false, corrupt(b.id, before, "the key is out of order")
	}
	return false, verifyHead(b.id, before, record)
}

// verifyHead checks a record as far as its key goes.
func verifyHead(b bucketID, key, record []byte) error {
	switch b {
	case bucketKV:
		_, err := openKVHead(key, record)
		return err
	case bucketHistory:
		_, _, err := openHistoryIndex(key, record)
		return err
	default:
		_, err := openSealed(b, key, record)
		return err
	}
}

// findSealed returns the body of key's record, or nil. An empty body isn't nil.
func (b *bucket) findSealed(key []byte) ([]byte, error) {
	record, err := b.find(key)
	if err != nil || record == nil {
		return nil, err
	}
	return openSealed(b.id, key, record)
}
