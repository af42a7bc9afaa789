package txn

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/spire-raft/spire-raft/store"
)

// CheckKey returns an error unless key has a legal length.
func CheckKey(key []byte) error {
	switch {
	case len(key) == 0:
		return fmt.Errorf("%w: a key needs at least 1 byte", store.ErrInvalid)
	case len(key) > store.KeyBytesMax:
		return fmt.Errorf("%w: key of %d bytes exceeds KeyBytesMax %d", store.ErrTooLarge, len(key), store.KeyBytesMax)
	}
	return nil
}

// CheckWrite returns an error unless w is legal where a transaction takes
// taken sequence numbers. Backends use it on writes from the network.
func CheckWrite(w *Write, taken int) error {
	if err := CheckKey(w.Key); err != nil {
		return err
	}
	if len(w.Value) > store.ValueBytesMax {
		return fmt.Errorf("%w: value of %d bytes exceeds ValueBytesMax %d", store.ErrTooLarge, len(w.Value), store.ValueBytesMax)
	}
	for _, p := range w.Patches {
		if p.Target != store.PatchKey && p.Target != store.PatchValue {
			return fmt.Errorf("%w: patch target %d", store.ErrInvalid, p.Target)
		}
		size := len(pick(p.Target, w.Key, w.Value))
		if p.Offset < 0 || p.Offset > size-store.PatchSize {
			return fmt.Errorf("%w: patch at offset %d does not fit into %d bytes", store.ErrInvalid, p.Offset, size)
		}
		if p.Sequence.Nth < 0 || p.Sequence.Nth >= taken {
			return fmt.Errorf("%w: patch with sequence %d of %d taken", store.ErrInvalid, p.Sequence.Nth, taken)
		}
	}
	return nil
}

func pick(t store.PatchTarget, key, value []byte) []byte {
	if t == store.PatchKey {
		return key
	}
	return value
}

// cost is what w takes of TxBytesMax.
func (w *Write) cost() int {
	return len(w.Key) + len(w.Value) + pointBytes*(1+len(w.Patches))
}

// keyPatched tells whether w's key is known only at commit.
func (w *Write) keyPatched() bool {
	return slices.ContainsFunc(w.Patches, func(p store.Patch) bool { return p.Target == store.PatchKey })
}

func putNumber(b []byte, n uint64) { binary.BigEndian.PutUint64(b, n) }

// budget counts what a transaction has used of its limits.
type budget struct {
	ops   int
	bytes int
}

// spend takes ops and bytes off the limits, or changes nothing and returns
// ErrTooLarge. Negative ones give back.
func (b *budget) spend(ops, bytes int) error {
	if b.ops+ops > store.TxOpsMax {
		return fmt.Errorf("%w: transaction exceeds TxOpsMax %d: split it", store.ErrTooLarge, store.TxOpsMax)
	}
	if b.bytes+bytes > store.TxBytesMax {
		return fmt.Errorf("%w: transaction exceeds TxBytesMax %d: split it", store.ErrTooLarge, store.TxBytesMax)
	}
	b.ops += ops
	b.bytes += bytes
	return nil
}
