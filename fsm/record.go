package fsm

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/spire-raft/spire-raft/store"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// bucketID numbers the buckets. The ids seed checksums, so that a record is
// valid in its own bucket only, and index state.sums.
type bucketID uint8

const (
	bucketKV            bucketID = iota // key -> mod revision, value
	bucketHistory                       // revision -> its events
	bucketCounters                      // counter -> number
	bucketTokens                        // token hash -> JoinToken
	bucketRemoved                       // node id -> index of its removal
	bucketAdmissions                    // node id -> Admission
	bucketAuthority                     // what the authority consists of, by name, and the gossip keys
	bucketConfiguration                 // a sum only: the record lies in bucketMeta
	bucketMeta                          // what is there once; has no sum
	bucketCount

	sumCount = int(bucketConfiguration) + 1
)

var bucketNames = [bucketCount]string{"kv", "history", "counters", "tokens", "removed", "admissions", "authority", "configuration", "meta"}

// storedBuckets are those that exist in the file.
var storedBuckets = []bucketID{bucketKV, bucketHistory, bucketCounters, bucketTokens, bucketRemoved, bucketAdmissions, bucketAuthority, bucketMeta}

func (b bucketID) String() string { return bucketNames[b] }

var crcSeeds = func() (seeds [bucketCount]uint32) {
	for b := range seeds {
		seeds[b] = crc32.Checksum([]byte{byte(b)}, castagnoli)
	}
	return seeds
}()

// checksum is the CRC-32C of the bucket's id, the key and the bytes.
func checksum(b bucketID, key, bytes []byte) uint32 {
	return crc32.Update(crc32.Update(crcSeeds[b], castagnoli, key), castagnoli, bytes)
}

func corrupt(b bucketID, key []byte, what string) error {
	return fmt.Errorf("%w: bucket %v, key %q: %s; restore this server from the others", store.ErrCorrupt, b, key, what)
}

// Sizes of what comes before the variable part of a record.
const (
	sealBytes        = 4
	kvHeadBytes      = 16
	historyHeadBytes = 12
	eventHeadBytes   = 7
)

// A sealed record is a checksum and a body: the form of all buckets but kv and
// history.
func appendSealed(dst []byte, b bucketID, key, body []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, checksum(b, key, body))
	return append(dst, body...)
}

func openSealed(b bucketID, key, record []byte) ([]byte, error) {
	if len(record) < sealBytes {
		return nil, corrupt(b, key, "the record is too short")
	}
	body := record[sealBytes:]
	if binary.BigEndian.Uint32(record) != checksum(b, key, body) {
		return nil, corrupt(b, key, "the record fails its checksum")
	}
	return body, nil
}

// A kv record has two checksums: one for key, mod revision and the checksum of
// the value, one for the value. So a key is verified without reading a value.
func appendKV(dst, key []byte, rev store.Revision, value []byte) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint64(dst, uint64(rev))
	dst = binary.BigEndian.AppendUint32(dst, crc32.Checksum(value, castagnoli))
	binary.BigEndian.PutUint32(dst[at:], checksum(bucketKV, key, dst[at+sealBytes:]))
	return append(dst, value...)
}

// openKVHead verifies a kv record without its value.
func openKVHead(key, record []byte) (store.Revision, error) {
	if len(record) < kvHeadBytes {
		return 0, corrupt(bucketKV, key, "the record is too short")
	}
	if binary.BigEndian.Uint32(record) != checksum(bucketKV, key, record[sealBytes:kvHeadBytes]) {
		return 0, corrupt(bucketKV, key, "the record's head fails its checksum")
	}
	return store.Revision(binary.BigEndian.Uint64(record[sealBytes:])), nil
}

// openKV verifies a kv record.
func openKV(key, record []byte) (store.Revision, []byte, error) {
	rev, err := openKVHead(key, record)
	if err != nil {
		return 0, nil, err
	}
	value := record[kvHeadBytes:]
	if binary.BigEndian.Uint32(record[12:]) != crc32.Checksum(value, castagnoli) {
		return 0, nil, corrupt(bucketKV, key, "the value fails its checksum")
	}
	return rev, value, nil
}

// A history record holds the events of one revision: an index of their kinds,
// keys and value lengths, then the values. Each part has a checksum, so that
// validation against the history reads no values.
//
//	crc of the next three | length of index | crc of values | index | values
func appendHistory(dst, key []byte, events []store.Event) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, historyHeadBytes)...)
	for _, e := range events {
		dst = append(dst, byte(e.Kind))
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(e.Key)))
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(e.Value)))
		dst = append(dst, e.Key...)
	}
	index := len(dst)
	for _, e := range events {
		dst = append(dst, e.Value...)
	}
	head := dst[at:]
	binary.BigEndian.PutUint32(head[4:], uint32(index-at-historyHeadBytes))
	binary.BigEndian.PutUint32(head[8:], crc32.Checksum(dst[index:], castagnoli))
	binary.BigEndian.PutUint32(head, checksum(bucketHistory, key, dst[at+sealBytes:index]))
	return dst
}

// openHistoryIndex verifies the index of a history record and returns it.
func openHistoryIndex(key, record []byte) (index, values []byte, err error) {
	if len(record) < historyHeadBytes {
		return nil, nil, corrupt(bucketHistory, key, "the record is too short")
	}
	n := int64(binary.BigEndian.Uint32(record[4:]))
	if n > int64(len(record)-historyHeadBytes) {
		return nil, nil, corrupt(bucketHistory, key, "the record's index is longer than the record")
	}
	end := historyHeadBytes + int(n)
	if binary.BigEndian.Uint32(record) != checksum(bucketHistory, key, record[sealBytes:end]) {
		return nil, nil, corrupt(bucketHistory, key, "the record's index fails its checksum")
	}
	return record[historyHeadBytes:end], record[end:], nil
}

// openHistory verifies a history record and calls fn for each event. The
// event's slices are parts of the record.
func openHistory(key, record []byte, fn func(store.Event)) error {
	index, values, err := openHistoryIndex(key, record)
	if err != nil {
		return err
	}
	if binary.BigEndian.Uint32(record[8:]) != crc32.Checksum(values, castagnoli) {
		return corrupt(bucketHistory, key, "the values fail their checksum")
	}
	for len(index) > 0 {
		e, size, rest, err := nextEvent(key, index)
		if err != nil {
			return err
		}
		if size > len(values) {
			return corrupt(bucketHistory, key, "the values are shorter than the index says")
		}
		if e.Kind == store.EventPut {
			e.Value = values[:size:size]
		}
		index, values = rest, values[size:]
		fn(e)
	}
	if len(values) > 0 {
		return corrupt(bucketHistory, key, "the values are longer than the index says")
	}
	return nil
}

// nextEvent splits the first event, without its value, off an index.
func nextEvent(key, index []byte) (e store.Event, valueBytes int, rest []byte, err error) {
	if len(index) < eventHeadBytes {
		return e, 0, nil, corrupt(bucketHistory, key, "the index ends inside an event")
	}
	e.Kind = store.EventKind(index[0])
	keyBytes := int(binary.BigEndian.Uint16(index[1:]))
	valueBytes = int(binary.BigEndian.Uint32(index[3:]))
	index = index[eventHeadBytes:]
	if keyBytes > len(index) {
		return e, 0, nil, corrupt(bucketHistory, key, "the index ends inside a key")
	}
	e.Key = index[:keyBytes:keyBytes]
	return e, valueBytes, index[keyBytes:], nil
}

func revisionKey(rev store.Revision) (key [8]byte) {
	binary.BigEndian.PutUint64(key[:], uint64(rev))
	return key
}

// verifyRecord checks a record of the file in full.
func verifyRecord(b bucketID, key, record []byte) error {
	switch b {
	case bucketKV:
		_, _, err := openKV(key, record)
		return err
	case bucketHistory:
		if len(key) != 8 {
			return corrupt(b, key, "the key is no revision")
		}
		return openHistory(key, record, func(store.Event) {})
	default:
		_, err := openSealed(b, key, record)
		return err
	}
}
