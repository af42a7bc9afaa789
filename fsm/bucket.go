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
	k, record, err := b.seek(key)
	if err != nil || k == nil || !bytes.Equal(k, key) {
		return nil, err
	}
	return record, nil
}

// seek returns the first key at or behind the given one, and its record, not
// verified, or nil.
//
// That there is nothing before it is verified by its neighbours: they must be
// on the right sides of key and pass their checksums. Otherwise a damaged key,
// in the record itself or in the index above it, would make the search miss.
func (b *bucket) seek(key []byte) (at, record []byte, err error) {
	at, record = b.cursor.Seek(key)
	if at != nil {
		order := bytes.Compare(at, key)
		if order == 0 {
			return at, record, nil
		}
		if order < 0 {
			return nil, nil, corrupt(b.id, at, "the key is out of order")
		}
		if err := verifyHead(b.id, at, record); err != nil {
			return nil, nil, err
		}
	}
	before, beforeRecord := b.cursor.Prev()
	if before == nil {
		b.cursor.First()
		return at, record, nil
	}
	if bytes.Compare(before, key) >= 0 {
		return nil, nil, corrupt(b.id, before, "the key is out of order")
	}
	if err := verifyHead(b.id, before, beforeRecord); err != nil {
		return nil, nil, err
	}
	b.cursor.Next()
	return at, record, nil
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
