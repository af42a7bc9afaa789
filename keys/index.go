package keys

import (
	"encoding/binary"
	"fmt"
)

// sequenceSize is the size of the sequence number at the end of an index key.
const sequenceSize = 8

// Index is what the key of an index entry says.
type Index struct {
	Type     []byte
	Field    []byte
	Value    []byte
	Sequence uint64
}

// AppendIndex appends to dst the key of an index entry: of the item of type typ
// that has value in field and the number sequence.
func AppendIndex[T Bytes](dst []byte, typ, field string, value T, sequence uint64) []byte {
	return binary.BigEndian.AppendUint64(AppendValuePrefix(dst, typ, field, value), sequence)
}

// AppendIndexUnnumbered is [AppendIndex] for a number that isn't known yet: 8
// zero bytes hold its place. It also returns where they are, as an offset from
// the key's first byte, the one at len(dst).
func AppendIndexUnnumbered[T Bytes](dst []byte, typ, field string, value T) (key []byte, offset int) {
	key = AppendIndex(dst, typ, field, value, 0)
	return key, len(key) - len(dst) - sequenceSize
}

// AppendIndexPrefix appends to dst what the keys of all entries of all indexes of
// a type begin with, and no other key.
func AppendIndexPrefix(dst []byte, typ string) []byte {
	return appendPart(append(dst, kindIndex), typ)
}

// AppendFieldPrefix appends to dst what the keys of all entries of an index
// begin with, and no other key.
func AppendFieldPrefix(dst []byte, typ, field string) []byte {
	return appendPart(AppendIndexPrefix(dst, typ), field)
}

// AppendValuePrefix appends to dst what the keys of all entries of an index with
// one value begin with, and no other key. It sorts behind the entries with
// lesser values, so that two such prefixes, or one and an
// [AppendFieldPrefix], bound a range of values.
func AppendValuePrefix[T Bytes](dst []byte, typ, field string, value T) []byte {
	return appendPart(AppendFieldPrefix(dst, typ, field), value)
}

// IndexAfter returns the bounds of the entries of an index with one value whose
// number is greater than sequence, in the order of their numbers: the rest of
// a listing that ended at sequence. The range is start <= key < end.
func IndexAfter[T Bytes](typ, field string, value T, sequence uint64) (start, end []byte) {
	end = AppendValuePrefix(nil, typ, field, value)
	start = binary.BigEndian.AppendUint64(end[:len(end):len(end)], sequence)
	end[len(end)-1]++               // the terminator: nothing but this prefix lies between
	return append(start, 0x00), end // right behind the key with sequence itself
}

// ParseIndex reads the key of an index entry. The parts share the key's bytes
// where they can. The error is [ErrMalformed].
func ParseIndex(key []byte) (Index, error) {
	r := reader{rest: key}
	r.kind(kindIndex)
	index := Index{Type: r.part("type"), Field: r.part("field"), Value: r.part("value"), Sequence: r.sequence()}
	if err := r.end(); err != nil {
		return Index{}, err
	}
	return index, nil
}

// sequence takes a sequence number.
func (r *reader) sequence() uint64 {
	if len(r.rest) < sequenceSize {
		r.fail(fmt.Sprintf("%d bytes of the sequence are missing", sequenceSize-len(r.rest)))
		return 0
	}
	n := binary.BigEndian.Uint64(r.rest)
	r.rest = r.rest[sequenceSize:]
	return n
}
