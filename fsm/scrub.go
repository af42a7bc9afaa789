package fsm

import (
	"context"
	"fmt"

	"github.com/spire-raft/spire-raft/internal/boltfile"
	"github.com/spire-raft/spire-raft/store"
)

// ScrubReport tells what a scrub has read.
type ScrubReport struct {
	Position Position
	Records  uint64
	Bytes    uint64 // of keys and of what is stored under them
}

// scrubStep is how many records are read between looks at the context.
const scrubStep = 256

// Scrub reads every record of the newest state, verifies its checksums, and
// recomputes the state hash. What differs ends in [store.ErrCorrupt]. It runs
// beside everything else, in one view: the file grows by what is written
// meanwhile. It does not stop the machine; that is for the caller to decide.
func (m *Machine) Scrub(ctx context.Context) (ScrubReport, error) {
	v, err := m.View()
	if err != nil {
		return ScrubReport{}, err
	}
	defer v.Close()
	report := ScrubReport{Position: v.position}
	want := &v.state
	for id := range bucketConfiguration {
		got, err := v.sum(ctx, id)
		if err != nil {
			return report, err
		}
		if got != want.sums[id] {
			return report, fmt.Errorf("%w: bucket %v adds up to %d records, %d bytes, lanes %x, but %d, %d, %x were stored; restore this server from the others",
				store.ErrCorrupt, id, got.records, got.bytes, got.lanes, want.sums[id].records, want.sums[id].bytes, want.sums[id].lanes)
		}
		report.Records += got.records
		report.Bytes += got.bytes
	}
	var got sum
	if configuration := v.Configuration(); configuration != nil {
		d := newHasher().record(keyConfiguration, nil, configuration)
		got.add(&d)
	}
	if got != want.sums[bucketConfiguration] {
		return report, corrupt(bucketMeta, keyConfiguration, "the record is not the one whose sum was stored")
	}
	return report, nil
}

// sum adds up the records of a bucket.
func (v *View) sum(ctx context.Context, id bucketID) (s sum, err error) {
	h := newHasher()
	var b *bucket
	var key, record []byte
	first := func() (err error) {
		if b, err = v.bucket(id); err == nil {
			key, record, err = b.seek(nil)
		}
		return err
	}
	if err := boltfile.Guard("scrub", first); err != nil {
		return s, err
	}
	step := func() error {
		for n := 0; n < scrubStep && key != nil; n++ {
			d, err := h.stored(id, key, record)
			if err != nil {
				return err
			}
			s.add(&d)
			if key, record, err = b.next(); err != nil {
				return err
			}
		}
		return nil
	}
	for key != nil {
		if err := ctx.Err(); err != nil {
			return s, err
		}
		if err := boltfile.Guard("scrub", step); err != nil {
			return s, err
		}
	}
	return s, nil
}

// stored verifies a record and returns its digest.
func (h *hasher) stored(id bucketID, key, record []byte) (digest, error) {
	if err := verifyRecord(id, key, record); err != nil {
		return digest{}, err
	}
	switch id {
	case bucketKV:
		return h.record(key, record[sealBytes:12], record[kvHeadBytes:]), nil
	case bucketHistory:
		index, values, err := openHistoryIndex(key, record)
		return h.record(key, index, values), err
	default:
		return h.record(key, nil, record[sealBytes:]), nil
	}
}
