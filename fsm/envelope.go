package fsm

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/spire-raft/spire-raft/store"
)

// Versions of what a log entry holds.
const (
	envelopeFormat    = 1 // the first byte
	envelopeVersion   = 1 // the field
	envelopeHeadBytes = 5 // format and checksum
)

// Field numbers of message Envelope, which is written and read by hand: the
// commands are the bulk of every entry, and so they are copied once on the way
// in and never on the way out.
const (
	envelopeVersionField  protowire.Number = 1
	envelopeCommandsField protowire.Number = 2
)

// EncodeEnvelope returns the body of a log entry with the given commands, in
// the order in which they will be applied. The commands are not looked at; pass
// them through [CheckCommand] first.
func EncodeEnvelope(cmds [][]byte) []byte {
	size := envelopeHeadBytes + 2
	for _, c := range cmds {
		size += 1 + protowire.SizeBytes(len(c))
	}
	b := make([]byte, envelopeHeadBytes, size)
	b[0] = envelopeFormat
	b = protowire.AppendTag(b, envelopeVersionField, protowire.VarintType)
	b = protowire.AppendVarint(b, envelopeVersion)
	for _, c := range cmds {
		b = protowire.AppendTag(b, envelopeCommandsField, protowire.BytesType)
		b = protowire.AppendBytes(b, c)
	}
	binary.BigEndian.PutUint32(b[1:], envelopeChecksum(b))
	return b
}

// envelopeChecksum covers everything but itself.
func envelopeChecksum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:1], castagnoli), castagnoli, b[envelopeHeadBytes:])
}

// decodeEnvelope returns the commands of a log entry, which are parts of b.
func decodeEnvelope(b []byte) ([][]byte, error) {
	if len(b) < envelopeHeadBytes {
		return nil, fmt.Errorf("%w: a log entry of %d bytes", store.ErrCorrupt, len(b))
	}
	if b[0] > envelopeFormat {
		return nil, fmt.Errorf("%w: the entry has format %d, this program knows %d", ErrTooNew, b[0], envelopeFormat)
	}
	if b[0] != envelopeFormat || binary.BigEndian.Uint32(b[1:]) != envelopeChecksum(b) {
		return nil, fmt.Errorf("%w: a log entry fails its checksum", store.ErrCorrupt)
	}
	var version uint64
	var cmds [][]byte
	for rest := b[envelopeHeadBytes:]; len(rest) > 0; {
		field, kind, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return nil, fmt.Errorf("%w: a log entry: %w", store.ErrCorrupt, protowire.ParseError(n))
		}
		rest = rest[n:]
		switch {
		case field == envelopeVersionField && kind == protowire.VarintType:
			version, n = protowire.ConsumeVarint(rest)
		case field == envelopeCommandsField && kind == protowire.BytesType:
			var c []byte
			c, n = protowire.ConsumeBytes(rest)
			cmds = append(cmds, c)
		default:
			return nil, fmt.Errorf("%w: the envelope (version %d) has a field %d, this program knows version %d", ErrTooNew, version, field, envelopeVersion)
		}
		if n < 0 {
			return nil, fmt.Errorf("%w: a log entry: %w", store.ErrCorrupt, protowire.ParseError(n))
		}
		rest = rest[n:]
		if version > envelopeVersion {
			return nil, fmt.Errorf("%w: the envelope has version %d, this program knows %d", ErrTooNew, version, envelopeVersion)
		}
	}
	if version == 0 {
		return nil, fmt.Errorf("%w: a log entry without a version", store.ErrCorrupt)
	}
	return cmds, nil
}
