package fsm

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"os"
	"time"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"github.com/spire-raft/spire-raft/internal/boltfile"
	fsmv1 "github.com/spire-raft/spire-raft/proto/fsm/v1"
)

// FailWrites makes every later write of m end in err, after it was done: what
// the machine holds then is not known to it.
func FailWrites(m *Machine, err error) {
	m.flushMu.Lock()
	defer m.flushMu.Unlock()
	m.writer = failingWriter{m.writer, err}
}

// Crash closes a machine without writing what is applied to the file.
func Crash(m *Machine) error {
	m.fail(errors.New("crash"))
	return m.Close()
}

// Revive lets a machine go on that has stopped at an entry which it can't
// decode: nothing of that was applied.
func Revive(m *Machine) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failed, m.advanced = nil, make(chan struct{})
}

type failingWriter struct {
	writer
	err error
}

func (w failingWriter) update(fn func(*bbolt.Tx) error) error {
	return errors.Join(w.err, w.writer.update(fn))
}

// SetFormat changes the format version of a closed database.
func SetFormat(path string, version uint32) error {
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		return putMeta(tx, keyFormat, binary.BigEndian.AppendUint32(nil, version))
	})
	return errors.Join(err, db.Close())
}

// EncodeEnvelopeVersion is EncodeEnvelope of another version.
func EncodeEnvelopeVersion(version byte, cmds ...[]byte) []byte {
	b := EncodeEnvelope(cmds)
	b[envelopeHeadBytes+1] = version // behind the field's tag
	return SealEnvelope(b)
}

// SealEnvelope makes the checksum of an envelope right.
func SealEnvelope(b []byte) []byte {
	if len(b) >= envelopeHeadBytes {
		binary.BigEndian.PutUint32(b[1:], envelopeChecksum(b))
	}
	return b
}

// UsedBytes returns how much of a database file is in use. What lies behind
// was allocated in advance.
func UsedBytes(path string) (int64, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	// Of the two meta pages the one with the higher transaction id counts.
	const txidAt, pagesAt = 16 + 48, 16 + 40
	newest, order := data, binary.NativeEndian
	if other := data[boltfile.PageBytes:]; order.Uint64(other[txidAt:]) > order.Uint64(newest[txidAt:]) {
		newest = other
	}
	return int64(order.Uint64(newest[pagesAt:])) * boltfile.PageBytes, nil
}

// ForTests makes a machine faster, and less durable.
func (o Options) ForTests() Options {
	o.noSync, o.lockWait = true, time.Nanosecond
	return o
}

// DecodeEnvelope returns the commands of a log entry.
var DecodeEnvelope = decodeEnvelope

// MetaMagic is what the first page of an image has behind its head.
var MetaMagic = binary.NativeEndian.AppendUint32(nil, 0xED0CDAED)

// SealSnapshot makes a snapshot stream of an image, right but for the image.
func SealSnapshot(clusterID string, image []byte) []byte {
	header, err := proto.Marshal(&fsmv1.SnapshotHeader{ClusterId: clusterID, Index: 1, Term: 1, ImageBytes: uint64(len(image))})
	if err != nil {
		panic(err)
	}
	b := binary.BigEndian.AppendUint32([]byte(snapshotMagic), snapshotVersion)
	b = binary.BigEndian.AppendUint32(b, uint32(len(header)))
	b = append(append(b, header...), image...)
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// StallWrites makes writes of m wait until release is called.
func StallWrites(m *Machine) (release func()) {
	m.flushMu.Lock()
	defer m.flushMu.Unlock()
	stalled := make(chan struct{})
	m.writer = stallingWriter{m.writer, stalled}
	return func() { close(stalled) }
}

type stallingWriter struct {
	writer
	stalled <-chan struct{}
}

func (w stallingWriter) update(fn func(*bbolt.Tx) error) error {
	<-w.stalled
	return w.writer.update(fn)
}

// Freeze begins a write to the file, and finish does the rest: in between there
// are two layers over the file.
func Freeze(m *Machine) (finish func() error) {
	m.flushMu.Lock()
	frozen := m.freeze()
	return func() error {
		defer m.flushMu.Unlock()
		if frozen == nil {
			return nil
		}
		err := m.writer.update(frozen.write)
		m.thaw(frozen, err == nil)
		return err
	}
}

// HoldFlush makes full layers wait, as if another write were before theirs.
func HoldFlush(m *Machine) {
	m.applyMu.Lock()
	defer m.applyMu.Unlock()
	m.flushing = true
}
