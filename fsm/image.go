package fsm

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spire-raft/spire-raft/internal/boltfile"
	"github.com/spire-raft/spire-raft/store"
)

// image is what a walk over a database file finds in it.
type image struct {
	records [bucketCount]uint64
	largest uint64 // bytes of the largest record, with its key

	// recordErr is the first error in a record. The walk goes on, since the
	// format that the records are in may be a later one.
	recordErr error
}

// checkImage verifies a database file before bbolt maps it: its pages, and
// every record. Where only records are wrong there is no error but recordErr.
func checkImage(path string) (*image, error) {
	i := &image{}
	err := boltfile.Check(path, boltfile.Options{
		LoneMeta: true, // the log still has what the last transaction did
		Bucket:   i.bucket,
	})
	if errors.Is(err, store.ErrCorrupt) {
		return nil, fmt.Errorf("%w; restore this server from the others", err)
	}
	if err != nil {
		return nil, err
	}
	return i, nil
}

// bucket returns what verifies and counts a bucket's records.
func (i *image) bucket(name []byte) (record func(key, value []byte)) {
	id := bucketID(slices.Index(bucketNames[:], string(name)))
	if id >= bucketCount {
		i.note(fmt.Errorf("%w: there is a bucket %q; restore this server from the others", store.ErrCorrupt, name))
		return nil
	}
	return func(key, value []byte) {
		i.records[id]++
		i.largest = max(i.largest, uint64(len(key)+len(value)))
		i.note(verifyRecord(id, key, value))
	}
}

func (i *image) note(err error) {
	if i.recordErr == nil {
		i.recordErr = err
	}
}
