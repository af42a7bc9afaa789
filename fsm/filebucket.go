package fsm

import (
	"bytes"

	"go.etcd.io/bbolt"
)

// fileBucket is a bucket of the database file. It notices keys out of order and
// damaged ones next to where it looks: they would hide records.
type fileBucket struct {
	id     bucketID
	cursor *bbolt.Cursor

	// at and record are where seek and next have got to, nil at the end.
	at, record []byte
}

// find returns the record of key, not verified, or nil.
func (b *fileBucket) find(key []byte) ([]byte, error) {
	at, record := b.cursor.Seek(key)
	if bytes.Equal(at, key) {
		return record, nil
	}
	_, err := b.verifyGap(key, at, record)
	return nil, err
}

// seek moves to the first key at or behind the given one.
func (b *fileBucket) seek(key []byte) error {
	b.at, b.record = b.cursor.Seek(key)
	if b.at != nil && bytes.Equal(b.at, key) {
		return nil
	}
	first, err := b.verifyGap(key, b.at, b.record)
	if err != nil {
		return err
	}
	if first {
		b.cursor.First()
	} else {
		b.cursor.Next()
	}
	return nil
}

// next moves to the next key.
func (b *fileBucket) next() error {
	last := b.at
	b.at, b.record = b.cursor.Next()
	if b.at != nil && bytes.Compare(last, b.at) >= 0 {
		return corrupt(b.id, b.at, "the key is out of order")
	}
	return nil
}

// verifyGap verifies that there is no key, where Seek has found the one behind
// it, or nil. The neighbours must be on the right sides of key and pass their
// checksums: otherwise a damaged key, of a record or in the index above, would
// make the search miss. It moves the cursor to the key before; first tells that
// there is none.
func (b *fileBucket) verifyGap(key, behind, record []byte) (first bool, err error) {
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
