package fsm

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"os"

	"google.golang.org/protobuf/proto"

	fsmv1 "github.com/spire-raft/spire-raft/proto/fsm/v1"
	"github.com/spire-raft/spire-raft/store"
)

// Incoming is a snapshot on its way into a machine: write the stream to it, then
// call Install or Discard. One goroutine uses it at a time.
type Incoming struct {
	machine *Machine
	file    *os.File // of the image alone; nil after Install and Discard
	sum     hash.Hash

	head   []byte                // what comes before the image, as far as it is here
	header *fsmv1.SnapshotHeader // nil until head is complete
	left   uint64                // of the image
	digest []byte                // as far as it is here
	failed error
}

// Receive begins to receive a snapshot. It takes as much room on disk as the
// snapshot's image has, beside the state.
func (m *Machine) Receive() (*Incoming, error) {
	if err := m.usable(); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(m.opts.Dir, tempPrefix)
	if err != nil {
		return nil, err
	}
	return &Incoming{machine: m, file: f, sum: sha256.New()}, nil
}

// Write implements [io.Writer]. It fails as soon as it is clear that the
// snapshot can't be installed: see [Incoming.Install].
func (in *Incoming) Write(b []byte) (int, error) {
	if in.failed == nil && in.file == nil {
		in.failed = store.ErrClosed
	}
	if in.failed != nil {
		return 0, in.failed
	}
	total := len(b)
	for len(b) > 0 && in.failed == nil {
		var n int
		n, in.failed = in.take(b)
		b = b[n:]
	}
	if in.failed != nil {
		in.failed = fmt.Errorf("receive snapshot: %w", in.failed)
	}
	return total - len(b), in.failed
}

// take uses up some bytes at the front of b.
func (in *Incoming) take(b []byte) (int, error) {
	switch {
	case in.header == nil:
		n := min(in.headWants(), len(b))
		in.head = append(in.head, b[:n]...)
		return n, in.readHead()
	case in.left > 0:
		n := int(min(in.left, uint64(len(b))))
		in.left -= uint64(n)
		in.sum.Write(b[:n])
		_, err := in.file.Write(b[:n])
		return n, err
	case len(in.digest) < sha256.Size:
		n := min(sha256.Size-len(in.digest), len(b))
		in.digest = append(in.digest, b[:n]...)
		return n, nil
	default:
		return 0, fmt.Errorf("%w: it goes on behind its end", store.ErrCorrupt)
	}
}

// headWants is how many bytes head lacks, as far as is known yet.
func (in *Incoming) headWants() int {
	if len(in.head) < snapshotPrefixBytes {
		return snapshotPrefixBytes - len(in.head)
	}
	return snapshotPrefixBytes + int(in.headerBytes()) - len(in.head)
}

func (in *Incoming) headerBytes() uint32 {
	return binary.BigEndian.Uint32(in.head[snapshotPrefixBytes-4:])
}

// readHead checks what there is of the head, and sets header when that is all.
func (in *Incoming) readHead() error {
	if len(in.head) < snapshotPrefixBytes {
		return nil
	}
	if string(in.head[:len(snapshotMagic)]) != snapshotMagic {
		return fmt.Errorf("%w: this is not a snapshot", store.ErrCorrupt)
	}
	if v := binary.BigEndian.Uint32(in.head[len(snapshotMagic):]); v != snapshotVersion {
		return fmt.Errorf("%w: it has version %d, this program knows %d", ErrTooNew, v, snapshotVersion)
	}
	if n := in.headerBytes(); n > snapshotHeaderBytesMax {
		return fmt.Errorf("%w: its header has %d bytes", store.ErrCorrupt, n)
	}
	if in.headWants() > 0 {
		return nil
	}
	header := new(fsmv1.SnapshotHeader)
	if err := proto.Unmarshal(in.head[snapshotPrefixBytes:], header); err != nil {
		return fmt.Errorf("%w: its header: %w", store.ErrCorrupt, err)
	}
	if header.ClusterId != in.machine.opts.ClusterID {
		return fmt.Errorf("%w: it is of cluster %q, this server of %q", ErrOtherCluster, header.ClusterId, in.machine.opts.ClusterID)
	}
	if have := in.machine.Position().Index; header.Index < have {
		return older(header.Index, have)
	}
	in.header, in.left = header, header.ImageBytes
	in.sum.Write(in.head)
	return nil
}

func older(index, have uint64) error {
	return fmt.Errorf("%w: it is of index %d, applied is %d", ErrOlderSnapshot, index, have)
}

// complete returns an error unless the whole stream is here, undamaged.
func (in *Incoming) complete() error {
	switch {
	case in.failed != nil:
		return in.failed
	case in.file == nil:
		return store.ErrClosed
	case len(in.digest) < sha256.Size:
		return fmt.Errorf("%w: the snapshot is cut off", store.ErrCorrupt)
	case string(in.sum.Sum(nil)) != string(in.digest):
		return fmt.Errorf("%w: the snapshot fails its checksum", store.ErrCorrupt)
	}
	return in.file.Sync()
}

// Discard drops what was received. It does nothing after Install or Discard.
func (in *Incoming) Discard() error {
	if in.file == nil {
		return nil
	}
	name := in.file.Name()
	err := in.file.Close()
	in.file = nil
	if rmErr := os.Remove(name); !errors.Is(rmErr, os.ErrNotExist) {
		err = errors.Join(err, rmErr) // an installed file has another name by now
	}
	return err
}
