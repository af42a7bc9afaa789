package fsm

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"io"

	"google.golang.org/protobuf/proto"

	fsmv1 "github.com/spire-raft/spire-raft/proto/fsm/v1"
)

// A snapshot stream is
//
//	magic | version | length of header | header | database image | SHA-256
//
// where the digest covers everything before it.
const (
	snapshotMagic          = "SPRAFTSS"
	snapshotVersion        = 1
	snapshotPrefixBytes    = len(snapshotMagic) + 4 + 4
	snapshotHeaderBytesMax = 64 << 10
)

// Snapshot is the state of a machine at one index, to be sent to another. It
// holds a view open: close it soon.
type Snapshot struct {
	view   *View
	header []byte
}

// Snapshot returns a snapshot of the newest state on disk. It costs next to
// nothing: the data is read when it is written out.
func (m *Machine) Snapshot() (*Snapshot, error) {
	v, err := m.View()
	if err != nil {
		return nil, err
	}
	s := &Snapshot{view: v}
	if err := s.prepare(m.opts.ClusterID); err != nil {
		v.Close()
		return nil, err
	}
	return s, nil
}

func (s *Snapshot) prepare(clusterID string) error {
	pos := s.view.position
	header, err := proto.Marshal(&fsmv1.SnapshotHeader{
		ClusterId: clusterID,
		Index:     pos.Index, Term: pos.Term,
		Revision: uint64(pos.Cursor.Revision), Epoch: uint64(pos.Cursor.Epoch),
		ConfigurationIndex: pos.ConfigurationIndex,
		StateHash:          pos.Hash[:],
		ImageBytes:         uint64(s.view.tx.Size()),
	})
	if err != nil {
		return err
	}
	s.header = append(s.header, snapshotMagic...)
	s.header = binary.BigEndian.AppendUint32(s.header, snapshotVersion)
	s.header = binary.BigEndian.AppendUint32(s.header, uint32(len(header)))
	s.header = append(s.header, header...)
	return nil
}

// Position is the snapshot's place in the log.
func (s *Snapshot) Position() Position { return s.view.position }

// Configuration returns the last configuration at or below the snapshot's
// index, and its own index. They are nil and 0 where there was none. The bytes
// are valid until Close.
func (s *Snapshot) Configuration() (index uint64, data []byte, err error) {
	return s.view.Configuration()
}

// Size is how many bytes WriteTo writes.
func (s *Snapshot) Size() int64 {
	return int64(len(s.header)) + s.view.tx.Size() + sha256.Size
}

// WriteTo implements [io.WriterTo]: it writes the stream that an
// [Incoming] takes.
func (s *Snapshot) WriteTo(w io.Writer) (int64, error) {
	sw := &summingWriter{w: w, sum: sha256.New()}
	_, err := sw.Write(s.header)
	if err != nil {
		return sw.written, err
	}
	err = guard("write snapshot", func() error {
		_, err := s.view.tx.WriteTo(sw)
		return err
	})
	if err != nil {
		return sw.written, err
	}
	_, err = sw.Write(sw.sum.Sum(nil))
	return sw.written, err
}

// Close releases the snapshot. It is called once.
func (s *Snapshot) Close() { s.view.Close() }

type summingWriter struct {
	w       io.Writer
	sum     hash.Hash
	written int64
}

func (w *summingWriter) Write(b []byte) (int, error) {
	w.sum.Write(b)
	n, err := w.w.Write(b)
	w.written += int64(n)
	return n, err
}
