package records

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"

	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
)

// The values of boolean fields in an index.
const (
	ValueFalse = "0"
	ValueTrue  = "1"
)

// BoolValue is b as an index value.
func BoolValue(b bool) string {
	if b {
		return ValueTrue
	}
	return ValueFalse
}

// OrderedInt64 is n as an index value: 8 bytes that sort as numbers do.
func OrderedInt64(n int64) string {
	return string(binary.BigEndian.AppendUint64(nil, uint64(n)^1<<63))
}

// SelectorValue is a selector as an index value: the length of the type, as a
// uvarint, the type and the value. Different selectors differ in it.
func SelectorValue(typ, value string) string {
	b := make([]byte, 0, binary.MaxVarintLen64+len(typ)+len(value))
	b = binary.AppendUvarint(b, uint64(len(typ)))
	b = append(b, typ...)
	return string(append(b, value...))
}

// ParseSelectorValue reads a [SelectorValue] back.
func ParseSelectorValue(s string) (typ, value string, err error) {
	size, n := binary.Uvarint([]byte(s[:min(len(s), binary.MaxVarintLen64)]))
	if n <= 0 || size > uint64(len(s)-n) {
		return "", "", errors.New("malformed selector value")
	}
	typ, value = s[n:n+int(size)], s[n+int(size):]
	if SelectorValue(typ, value) != s {
		return "", "", errors.New("malformed selector value: length is padded")
	}
	return typ, value, nil
}

// SelectorValues are selectors as index values.
func SelectorValues(selectors []*spirev1.Selector) []string {
	values := make([]string, len(selectors))
	for i, s := range selectors {
		values[i] = SelectorValue(s.GetType(), s.GetValue())
	}
	return values
}

// SimilarValue is the value of an entry in the index [FieldSimilar]: a digest
// of its SPIFFE ID, its parent and the set of its selectors. Entries that are
// equal in these, and only they, have the same.
func SimilarValue(e *spirev1.RegistrationEntry) string {
	selectors := SelectorValues(e.GetSelectors())
	slices.Sort(selectors)
	h := sha256.New()
	var size []byte
	for _, part := range append([]string{e.GetSpiffeId(), e.GetParentId()}, slices.Compact(selectors)...) {
		size = binary.AppendUvarint(size[:0], uint64(len(part)))
		_, _ = h.Write(size) // a hash takes everything
		_, _ = h.Write([]byte(part))
	}
	return string(h.Sum(nil))
}
