package fsm

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"

	"google.golang.org/protobuf/proto"

	"github.com/spire-raft/spire-raft/internal/boltfile"
	fsmv1 "github.com/spire-raft/spire-raft/proto/fsm/v1"
	"github.com/spire-raft/spire-raft/store"
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
// holds a transaction open: close it soon.
type Snapshot struct {
	db            *database
	tx            readTx
	position      Position
	configuration []byte
	header        []byte
}

// Snapshot returns a snapshot of what is applied, which it writes to the
// database file first. Beyond that it costs next to nothing: the data is read
// when it is written out.
func (m *Machine) Snapshot() (*Snapshot, error) {
	if err := m.Flush(); err != nil {
		return nil, err
	}
	v, err := m.acquire()
	if err != nil {
		return nil, err
	}
	s := &Snapshot{db: v.db}
	if s.tx, err = s.db.begin(); err != nil {
		s.db.release()
		return nil, err
	}
	if err := boltfile.Guard("snapshot", func() error { return s.prepare(m.opts.ClusterID) }); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// prepare describes what the transaction sees: the state of the file, which is
// that of a version of its own.
func (s *Snapshot) prepare(clusterID string) error {
	state, err := loadState(s.tx.Tx)
	if err != nil {
		return err
	}
	s.position, s.configuration = state.position(), state.configuration
	pos := &s.position
	header, err := proto.Marshal(&fsmv1.SnapshotHeader{
		ClusterId: clusterID,
		Index:     pos.Index, Term: pos.Term,
		Revision: uint64(pos.Cursor.Revision), Epoch: uint64(pos.Cursor.Epoch),
		ConfigurationIndex: pos.ConfigurationIndex,
		StateHash:          pos.Hash[:],
		ImageBytes:         uint64(s.tx.Size()),
		Instance:           pos.Instance,
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
func (s *Snapshot) Position() Position { return s.position }

// Configuration is the last configuration at or below the snapshot's index,
// nil if there was none. It belongs to the snapshot.
func (s *Snapshot) Configuration() []byte { return s.configuration }

// Size is how many bytes WriteTo writes.
func (s *Snapshot) Size() int64 {
	return int64(len(s.header)) + s.tx.Size() + sha256.Size
}

// WriteTo implements [io.WriterTo]: it writes the stream that Install reads.
func (s *Snapshot) WriteTo(w io.Writer) (int64, error) {
	sw := &summingWriter{w: w, sum: sha256.New()}
	_, err := sw.Write(s.header)
	if err != nil {
		return sw.written, err
	}
	err = boltfile.Guard("write snapshot", func() error {
		_, err := s.tx.WriteTo(sw)
		return err
	})
	if err != nil {
		return sw.written, err
	}
	_, err = sw.Write(sw.sum.Sum(nil))
	return sw.written, err
}

// Close releases the snapshot. It is called once.
func (s *Snapshot) Close() {
	s.tx.end()
	s.db.release()
}

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

// readHeader reads a stream up to its image.
func readHeader(r io.Reader) (*fsmv1.SnapshotHeader, error) {
	prefix := make([]byte, snapshotPrefixBytes)
	if _, err := io.ReadFull(r, prefix); err != nil {
		return nil, cutOff(err)
	}
	if string(prefix[:len(snapshotMagic)]) != snapshotMagic {
		return nil, fmt.Errorf("%w: this is not a snapshot", store.ErrCorrupt)
	}
	prefix = prefix[len(snapshotMagic):]
	if v := binary.BigEndian.Uint32(prefix); v != snapshotVersion {
		return nil, fmt.Errorf("%w: the snapshot has version %d, this program knows %d", ErrTooNew, v, snapshotVersion)
	}
	n := binary.BigEndian.Uint32(prefix[4:])
	if n > snapshotHeaderBytesMax {
		return nil, fmt.Errorf("%w: the snapshot's header has %d bytes", store.ErrCorrupt, n)
	}
	raw := make([]byte, n)
	if _, err := io.ReadFull(r, raw); err != nil {
		return nil, cutOff(err)
	}
	header := new(fsmv1.SnapshotHeader)
	if err := proto.Unmarshal(raw, header); err != nil {
		return nil, fmt.Errorf("%w: the snapshot's header: %w", store.ErrCorrupt, err)
	}
	if len(header.ProtoReflect().GetUnknown()) > 0 {
		return nil, fmt.Errorf("%w: the snapshot's header has fields that version %d has not", ErrTooNew, snapshotVersion)
	}
	if header.ImageBytes > 1<<62 {
		return nil, fmt.Errorf("%w: the snapshot's image has %d bytes", store.ErrCorrupt, header.ImageBytes)
	}
	return header, nil
}

// CheckSnapshot refuses a snapshot stream, of which it reads only the beginning,
// unless it is one of a cluster, at the entry of the given index and term.
func CheckSnapshot(r io.Reader, clusterID string, index, term uint64) error {
	header, err := readHeader(r)
	if err != nil {
		return err
	}
	if header.ClusterId != clusterID {
		return fmt.Errorf("%w: the snapshot is of cluster %q, this server of %q", ErrOtherCluster, header.ClusterId, clusterID)
	}
	if header.Index != index || header.Term != term {
		return fmt.Errorf("%w: the snapshot is of index %d and term %d, not of index %d and term %d", store.ErrCorrupt, header.Index, header.Term, index, term)
	}
	return nil
}

// readImage copies the image behind a header to w and verifies the digest,
// which r has summed from its first byte on.
func readImage(w io.Writer, r *summingReader, size uint64) error {
	if _, err := io.CopyN(w, r, int64(size)); err != nil {
		return cutOff(err)
	}
	want := r.sum.Sum(nil)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r.r, got); err != nil {
		return cutOff(err)
	}
	if string(got) != string(want) {
		return fmt.Errorf("%w: the snapshot fails its checksum", store.ErrCorrupt)
	}
	if n, err := io.ReadFull(r.r, make([]byte, 1)); n > 0 {
		return fmt.Errorf("%w: the snapshot goes on behind its end", store.ErrCorrupt)
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// cutOff makes an early end of a stream an ErrCorrupt.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: the snapshot is cut off", store.ErrCorrupt)
	}
	return err
}

type summingReader struct {
	r   io.Reader
	sum hash.Hash
}

func (r *summingReader) Read(b []byte) (int, error) {
	n, err := r.r.Read(b)
	r.sum.Write(b[:n])
	return n, err
}
