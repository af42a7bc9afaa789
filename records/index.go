package records

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"github.com/spire-raft/spire-raft/keys"
)

// The fields by which objects are found.
const (
	FieldOrder         = "" // all objects, with an empty value
	FieldID            = "id"
	FieldParentID      = "parent_id"
	FieldSpiffeID      = "spiffe_id"
	FieldHint          = "hint"
	FieldDownstream    = "downstream"
	FieldSelector      = "selector"       // a set
	FieldFederatesWith = "federates_with" // a set
	FieldExpiry        = "expiry"         // ordered: a range of values is a range of keys
	FieldSimilar       = "similar"
	FieldType          = "type"
	FieldBanned        = "banned"
	FieldCanReattest   = "can_reattest"
	FieldAuthority     = "authority"
)

// IndexValueBytesMax is the length of the longest value that an index holds as
// it is, in bytes. Longer ones are replaced by their digest.
const IndexValueBytesMax = 512

const (
	digestMark = 0xff
	digestSize = 1 + sha256.Size
)

// IndexRecord is a record of an index, but for the number.
type IndexRecord struct {
	Field string
	Value string // the field's value, or its digest where it is long
	Data  string // what is stored: the id, behind the size of a set
}

// Posting is what a record of an index says about an object.
type Posting struct {
	Number uint64
	ID     []byte // shares memory with the record

	// SetSize is the size of the set that the value is in. It is 0 where the
	// field is none.
	SetSize uint64
}

// Indexes returns the object's records in all indexes.
func (k *Kind[T]) Indexes(object T) []IndexRecord {
	x := indexer{id: k.id(object)}
	x.add(FieldOrder, "")
	if k.index != nil {
		k.index(object, &x)
	}
	return x.records
}

// IndexKey returns the key of r for the object with the given number.
func (k *Kind[T]) IndexKey(r IndexRecord, number uint64) []byte {
	return keys.AppendIndex(nil, k.typ, r.Field, r.Value, number)
}

// UnnumberedIndexKey returns the key of r for an object whose number isn't
// known yet, and the offset of the number's 8 bytes in it.
func (k *Kind[T]) UnnumberedIndexKey(r IndexRecord) (key []byte, offset int) {
	return keys.AppendIndexUnnumbered(nil, k.typ, r.Field, r.Value)
}

// IndexAfter returns the bounds of the records that have value in field and a
// number greater than after, in the order of their numbers: start <= key < end.
func (k *Kind[T]) IndexAfter(field, value string, after uint64) (start, end []byte) {
	return keys.IndexAfter(k.typ, field, indexValue(value), after)
}

// IndexPrefix returns what the keys of all records begin with that have value
// in field, and no other key.
func (k *Kind[T]) IndexPrefix(field, value string) []byte {
	return keys.AppendValuePrefix(nil, k.typ, field, indexValue(value))
}

// ExpiryBefore returns the bounds of the records in the index [FieldExpiry] with
// an expiry before the Unix second t, in the order of their expiry:
// start <= key < end.
func (k *Kind[T]) ExpiryBefore(t int64) (start, end []byte) {
	return k.FieldPrefix(FieldExpiry), k.IndexPrefix(FieldExpiry, OrderedInt64(t))
}

// ExpiryFrom is [Kind.ExpiryBefore] for the records with an expiry at or after t.
func (k *Kind[T]) ExpiryFrom(t int64) (start, end []byte) {
	end = k.FieldPrefix(FieldExpiry)
	end[len(end)-1]++ // the terminator: nothing but this prefix lies between
	return k.IndexPrefix(FieldExpiry, OrderedInt64(t)), end
}

// FieldPrefix returns what the keys of all records of an index begin with, and
// no other key.
func (k *Kind[T]) FieldPrefix(field string) []byte {
	return keys.AppendFieldPrefix(nil, k.typ, field)
}

// Posting reads a record of an index. The error is a [MalformedError].
func (k *Kind[T]) Posting(key, data []byte) (Posting, error) {
	index, err := keys.ParseIndex(key)
	if err != nil || string(index.Type) != k.typ {
		return Posting{}, k.malformed(key, errors.New("not the key of an index of "+k.typ))
	}
	p, err := ParsePosting(index, data)
	if err != nil {
		return Posting{}, k.malformed(key, err)
	}
	return p, nil
}

// ParsePosting reads the value of an index record of any kind.
func ParsePosting(index keys.Index, data []byte) (Posting, error) {
	p := Posting{Number: index.Sequence, ID: data}
	if isSet(string(index.Field)) {
		size, n := binary.Uvarint(data)
		if n <= 0 || size == 0 {
			return Posting{}, errors.New("no size of the set")
		}
		p.SetSize, p.ID = size, data[n:]
	}
	return p, nil
}

// Diff returns the records of old that go and those that come in an update to
// records. A record that only changes what is stored under its key comes and
// doesn't go.
func Diff(old, records []IndexRecord) (remove, put []IndexRecord) {
	type place struct{ field, value string }
	before := make(map[place]string, len(old))
	for _, r := range old {
		before[place{r.Field, r.Value}] = r.Data
	}
	kept := make(map[place]bool, len(records))
	for _, r := range records {
		at := place{r.Field, r.Value}
		kept[at] = true
		if data, ok := before[at]; !ok || data != r.Data {
			put = append(put, r)
		}
	}
	for _, r := range old {
		if !kept[place{r.Field, r.Value}] {
			remove = append(remove, r)
		}
	}
	return remove, put
}

// indexer collects the index records of an object.
type indexer struct {
	id      string
	records []IndexRecord
}

func (x *indexer) add(field, value string) {
	x.records = append(x.records, IndexRecord{Field: field, Value: indexValue(value), Data: x.id})
}

// addSet adds a record for each different value.
func (x *indexer) addSet(field string, values []string) {
	seen := make(map[string]bool, len(values))
	distinct := make([]string, 0, len(values))
	for _, value := range values {
		if !seen[value] {
			seen[value] = true
			distinct = append(distinct, value)
		}
	}
	data := string(binary.AppendUvarint(nil, uint64(len(distinct)))) + x.id
	for _, value := range distinct {
		x.records = append(x.records, IndexRecord{Field: field, Value: indexValue(value), Data: data})
	}
}

// isSet tells whether an object may have several values in field.
func isSet(field string) bool { return field == FieldSelector || field == FieldFederatesWith }

// indexValue is value as an index holds it.
func indexValue(value string) string {
	looksDigested := len(value) == digestSize && value[0] == digestMark
	if len(value) <= IndexValueBytesMax && !looksDigested {
		return value
	}
	sum := sha256.Sum256([]byte(value))
	return string(append([]byte{digestMark}, sum[:]...))
}
