package keys_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/spire-raft/spire-raft/keys"
)

// tuple holds the parts of an index key.
type tuple struct {
	typ, field, value string
	sequence          uint64
}

func (x tuple) String() string {
	return fmt.Sprintf("%q %q %q %d", x.typ, x.field, x.value, x.sequence)
}

// tuples are in the order that their keys must have.
var tuples = []tuple{
	{"", "", "", 0},
	{"", "", "", 1},
	{"", "", "\x00", 0},
	{"", "\xff", "", 0},
	{"\x00", "", "", 0},
	{"a", "", "", math.MaxUint64},
	{"a", "\x00", "", 0},
	{"a", "b", "", 0},
	{"a", "b", "a", 1},
	{"a", "b", "a", 255},
	{"a", "b", "a", 256},
	{"a", "b", "a", math.MaxUint64},
	{"a", "b", "a\x00", 0},
	{"a", "b", "a\x00\x00", 0},
	{"a", "b", "a\x00\x01", 0},
	{"a", "b", "a\x00\xff", 0},
	{"a", "b", "a\x01", 0},
	{"a", "b", "a:", 0},
	{"a", "b", "ab", 0},
	{"a", "b", "a\xff", 0},
	{"a", "b", "\xff", 0},
	{"a", "b", "\xff\xff", 0},
	{"a", "b:", "", 0},
	{"a", "b:a", "", 0},
	{"a\x00", "", "", 0},
	{"a\x00\x01b", "", "", 0},
	{"a:b", "", "", 0},
	{"\xff", "", "", 0},
	{"\xff\xff", "\xff", "\xff", math.MaxUint64},
}

func TestIndexKeys_SortAsTheirParts(t *testing.T) {
	var last []byte
	for i, x := range tuples {
		key := keys.AppendIndex(nil, x.typ, x.field, x.value, x.sequence)
		if i > 0 && bytes.Compare(last, key) >= 0 {
			t.Errorf("key of %v is not behind the key of %v", x, tuples[i-1])
		}
		last = key
	}
}

func TestItemKeys_SortAsTheirParts(t *testing.T) {
	var last []byte
	for i, x := range tuples {
		if i > 0 && tuples[i-1].typ == x.typ && tuples[i-1].field == x.field {
			continue // the same item
		}
		key := keys.AppendItem(nil, x.typ, x.field)
		if bytes.Compare(last, key) >= 0 {
			t.Errorf("key of %q %q is not behind the one before", x.typ, x.field)
		}
		last = key
	}
}

func TestPrefixes_HoldExactlyTheKeysWithTheirParts(t *testing.T) {
	for _, x := range tuples {
		ofType := keys.AppendItemPrefix(nil, x.typ)
		ofField := keys.AppendFieldPrefix(nil, x.typ, x.field)
		ofValue := keys.AppendValuePrefix(nil, x.typ, x.field, x.value)
		for _, y := range tuples {
			item := keys.AppendItem(nil, y.typ, y.value)
			index := keys.AppendIndex(nil, y.typ, y.field, y.value, y.sequence)
			sameType, sameField, sameValue := x.typ == y.typ, x.field == y.field, x.value == y.value
			for _, c := range []struct {
				name        string
				key, prefix []byte
				want        bool
			}{
				{"item, type", item, ofType, sameType},
				{"index, type", index, ofType, false},
				{"index, field", index, ofField, sameType && sameField},
				{"index, value", index, ofValue, sameType && sameField && sameValue},
				{"item, field", item, ofField, false},
				{"item, value", item, ofValue, false},
			} {
				if got := bytes.HasPrefix(c.key, c.prefix); got != c.want {
					t.Errorf("%s: key of %v has the prefix of %v: %v, want %v", c.name, y, x, got, c.want)
				}
			}
		}
	}
}

func TestKinds_NeverCollide(t *testing.T) {
	// The types are named after the kinds and after whole keys of other kinds.
	names := []string{"", "i", "d", "c", "i\x00\x01", string(keys.AppendItem(nil, "i", "d")), string(keys.AppendIndex(nil, "d", "c", "", 0))}
	seen := map[string]string{}
	add := func(kind string, key []byte) {
		if other, ok := seen[string(key)]; ok {
			t.Errorf("%s and %s share the key %q", kind, other, key)
		}
		seen[string(key)] = kind
	}
	for _, a := range names {
		add("counter", keys.AppendCounter(nil, a))
		for _, b := range names {
			add("item", keys.AppendItem(nil, a, b))
			for _, c := range names {
				add("index", keys.AppendIndex(nil, a, b, c, 0))
			}
		}
	}
}

func TestIndexAfter_HoldsTheRestOfTheValue(t *testing.T) {
	for _, after := range tuples {
		start, end := keys.IndexAfter(after.typ, after.field, after.value, after.sequence)
		for _, x := range tuples {
			key := keys.AppendIndex(nil, x.typ, x.field, x.value, x.sequence)
			got := bytes.Compare(key, start) >= 0 && bytes.Compare(key, end) < 0
			want := x.typ == after.typ && x.field == after.field && x.value == after.value && x.sequence > after.sequence
			if got != want {
				t.Errorf("key of %v is in the range behind %v: %v, want %v", x, after, got, want)
			}
		}
	}
}

func TestAppendIndexUnnumbered_LeavesRoomForTheNumber(t *testing.T) {
	dst := []byte("before")
	for _, x := range tuples {
		got, offset := keys.AppendIndexUnnumbered(dst, x.typ, x.field, x.value)
		key, ok := bytes.CutPrefix(got, dst)
		if !ok {
			t.Fatalf("%v: the bytes before the key have changed: %q", x, got)
		}
		copy(key[offset:], []byte{1, 2, 3, 4, 5, 6, 7, 8})
		want := keys.AppendIndex(nil, x.typ, x.field, x.value, 0x0102030405060708)
		if !bytes.Equal(key, want) {
			t.Errorf("%v: patched key is %q, want %q", x, key, want)
		}
	}
}

func TestAppend_TakesStringsAndBytesAlike(t *testing.T) {
	const value = "a\x00\xff:"
	dst := []byte("before")
	if a, b := keys.AppendItem(dst, "t", value), keys.AppendItem(dst, "t", []byte(value)); !bytes.Equal(a, b) {
		t.Errorf("items differ: %q and %q", a, b)
	}
	if a, b := keys.AppendIndex(dst, "t", "f", value, 7), keys.AppendIndex(dst, "t", "f", []byte(value), 7); !bytes.Equal(a, b) {
		t.Errorf("index entries differ: %q and %q", a, b)
	}
}

func TestParse_PartsHaveNoRoomToOverwriteTheKey(t *testing.T) {
	key := keys.AppendIndex(nil, "t", "f", "v", 7)
	want := bytes.Clone(key)
	index, err := keys.ParseIndex(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range [][]byte{index.Type, index.Field, index.Value} {
		_ = append(part, "overwritten"...)
	}
	if !bytes.Equal(key, want) {
		t.Errorf("key became %q", key)
	}
}

func TestParse_RefusesWhatIsNoKey(t *testing.T) {
	item := func(key []byte) error { _, err := keys.ParseItem(key); return err }
	index := func(key []byte) error { _, err := keys.ParseIndex(key); return err }
	counter := func(key []byte) error { _, err := keys.ParseCounter(key); return err }
	for _, c := range []struct {
		name  string
		parse func([]byte) error
		key   string
	}{
		{"no bytes", item, ""},
		{"only a kind", item, "d"},
		{"an unknown kind", item, "x\x00\x01\x00\x01"},
		{"an index as an item", item, "i\x00\x01\x00\x01"},
		{"an item as an index", index, "d\x00\x01\x00\x01\x00\x0100000000"},
		{"an item as a counter", counter, "d\x00\x01"},
		{"an item without id", item, "da\x00\x01"},
		{"an id without end", item, "da\x00\x01b"},
		{"an id that ends in half an escape", item, "da\x00\x01b\x00"},
		{"an unknown escape", item, "da\x00\x01b\x00\x02\x00\x01"},
		{"an unescaped zero byte", item, "da\x00\x01b\x00\x00\x01"},
		{"bytes behind an item", item, "da\x00\x01b\x00\x01c"},
		{"an index without sequence", index, "i\x00\x01\x00\x01\x00\x01"},
		{"a short sequence", index, "i\x00\x01\x00\x01\x00\x010000000"},
		{"a long sequence", index, "i\x00\x01\x00\x01\x00\x01000000000"},
		{"bytes behind a counter", counter, "c\x00\x01\x00"},
	} {
		if err := c.parse([]byte(c.key)); !errors.Is(err, keys.ErrMalformed) {
			t.Errorf("%s: error is %v, want ErrMalformed", c.name, err)
		}
	}
}

func TestParse_KeepsTheKeyOutOfItsErrors(t *testing.T) {
	_, err := keys.ParseItem([]byte("dtoken\x00\x01s3cret"))
	if err == nil || bytes.Contains([]byte(err.Error()), []byte("s3cret")) {
		t.Errorf("error is %v, want one without the id, which may be a secret", err)
	}
}
