package fsm

import (
	"encoding/binary"
	"errors"

	"go.etcd.io/bbolt"
)

// FailWrites makes every later write of m end in err, after it was done: what
// the machine holds then is not known to it.
func FailWrites(m *Machine, err error) {
	m.applyMu.Lock()
	defer m.applyMu.Unlock()
	m.writer = failingWriter{m.writer, err}
}

type failingWriter struct {
	writer
	err error
}

func (w failingWriter) update(fn func(*bbolt.Tx) error) (int, error) {
	txid, err := w.writer.update(fn)
	return txid, errors.Join(w.err, err)
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
	binary.BigEndian.PutUint32(b[1:], envelopeChecksum(b))
	return b
}
