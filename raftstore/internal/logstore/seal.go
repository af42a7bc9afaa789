package logstore

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/store"
)

// sealBytes is the size of the checksum that ends the extensions of a stored
// entry and a stored value.
const sealBytes = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sealLogs returns copies of logs whose extensions end with a checksum. The
// originals stay as they are: raft goes on using them, and its cache keeps them.
func sealLogs(logs []*raft.Log) []*raft.Log {
	copies := make([]raft.Log, len(logs))
	sealed := make([]*raft.Log, len(logs))
	for i, l := range logs {
		copies[i] = *l
		extensions := make([]byte, 0, len(l.Extensions)+sealBytes)
		extensions = append(extensions, l.Extensions...)
		copies[i].Extensions = binary.BigEndian.AppendUint32(extensions, logChecksum(l))
		sealed[i] = &copies[i]
	}
	return sealed
}

// unsealLog checks the entry read from index and strips its checksum.
func unsealLog(index uint64, l *raft.Log) error {
	n := len(l.Extensions) - sealBytes
	if n < 0 {
		return fmt.Errorf("entry %d fails its checksum, it has none: %w", index, store.ErrCorrupt)
	}
	seal := binary.BigEndian.Uint32(l.Extensions[n:])
	l.Extensions = l.Extensions[:n:n]
	if n == 0 {
		l.Extensions = nil
	}
	if l.Index != index || logChecksum(l) != seal {
		return fmt.Errorf("entry %d fails its checksum: %w", index, store.ErrCorrupt)
	}
	return nil
}

// logChecksum covers every field of l but AppendedAt. The length of the
// extensions is in, so that bytes can't move between them and the data.
func logChecksum(l *raft.Log) uint32 {
	var head [8 + 8 + 1 + 4]byte
	binary.BigEndian.PutUint64(head[0:], l.Index)
	binary.BigEndian.PutUint64(head[8:], l.Term)
	head[16] = byte(l.Type)
	binary.BigEndian.PutUint32(head[17:], uint32(len(l.Extensions)))
	sum := crc32.Update(0, castagnoli, head[:])
	sum = crc32.Update(sum, castagnoli, l.Extensions)
	return crc32.Update(sum, castagnoli, l.Data)
}

func sealValue(key, value []byte) []byte {
	sealed := make([]byte, 0, len(value)+sealBytes)
	sealed = append(sealed, value...)
	return binary.BigEndian.AppendUint32(sealed, valueChecksum(key, value))
}

func unsealValue(key, sealed []byte) ([]byte, error) {
	n := len(sealed) - sealBytes
	if n < 0 || binary.BigEndian.Uint32(sealed[n:]) != valueChecksum(key, sealed[:n]) {
		return nil, fmt.Errorf("value of %q fails its checksum: %w", key, store.ErrCorrupt)
	}
	return sealed[:n:n], nil
}

// valueChecksum covers the key too, so that values can't change places.
func valueChecksum(key, value []byte) uint32 {
	sum := crc32.Update(0, castagnoli, key)
	return crc32.Update(sum, castagnoli, value)
}
