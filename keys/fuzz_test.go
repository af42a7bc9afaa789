package keys_test

import (
	"bytes"
	"cmp"
	"testing"

	"github.com/spire-raft/spire-raft/keys"
)

func FuzzRoundTrip(f *testing.F) {
	for _, x := range tuples {
		f.Add(x.typ, x.field, []byte(x.value), x.sequence)
	}
	f.Fuzz(func(t *testing.T, typ, field string, value []byte, sequence uint64) {
		index, err := keys.ParseIndex(keys.AppendIndex(nil, typ, field, value, sequence))
		if err != nil {
			t.Fatal(err)
		}
		if string(index.Type) != typ || string(index.Field) != field || !bytes.Equal(index.Value, value) || index.Sequence != sequence {
			t.Errorf("index %q %q %q %d came back as %+v", typ, field, value, sequence, index)
		}
		item, err := keys.ParseItem(keys.AppendItem(nil, typ, value))
		if err != nil {
			t.Fatal(err)
		}
		if string(item.Type) != typ || !bytes.Equal(item.ID, value) {
			t.Errorf("item %q %q came back as %+v", typ, value, item)
		}
		name, err := keys.ParseCounter(keys.AppendCounter(nil, field))
		if err != nil {
			t.Fatal(err)
		}
		if string(name) != field {
			t.Errorf("counter %q came back as %q", field, name)
		}
	})
}

func FuzzOrder(f *testing.F) {
	for i, x := range tuples {
		y := tuples[(i+1)%len(tuples)]
		f.Add(x.typ, x.field, []byte(x.value), x.sequence, y.typ, y.field, []byte(y.value), y.sequence)
	}
	f.Fuzz(func(t *testing.T, typ1, field1 string, value1 []byte, seq1 uint64, typ2, field2 string, value2 []byte, seq2 uint64) {
		want := cmp.Or(cmp.Compare(typ1, typ2), cmp.Compare(field1, field2), bytes.Compare(value1, value2), cmp.Compare(seq1, seq2))
		checkOrder(t, keys.AppendIndex(nil, typ1, field1, value1, seq1), keys.AppendIndex(nil, typ2, field2, value2, seq2), want)

		want = cmp.Or(cmp.Compare(typ1, typ2), bytes.Compare(value1, value2))
		checkOrder(t, keys.AppendItem(nil, typ1, value1), keys.AppendItem(nil, typ2, value2), want)

		checkOrder(t, keys.AppendCounter(nil, typ1), keys.AppendCounter(nil, typ2), cmp.Compare(typ1, typ2))

		// Two prefixes of values bound the values between them.
		start, end := keys.AppendValuePrefix(nil, typ1, field1, value1), keys.AppendValuePrefix(nil, typ1, field1, value2)
		key := keys.AppendIndex(nil, typ1, field1, value1, seq1)
		if between := bytes.Compare(key, start) >= 0 && bytes.Compare(key, end) < 0; between != (bytes.Compare(value1, value2) < 0) {
			t.Errorf("value %q lies between itself and %q: %v", value1, value2, between)
		}
	})
}

// checkOrder checks that two keys compare as want says and that neither is the
// beginning of the other.
func checkOrder(t *testing.T, a, b []byte, want int) {
	t.Helper()
	if got := bytes.Compare(a, b); got != want {
		t.Errorf("keys %q and %q compare as %d, their parts as %d", a, b, got, want)
	}
	if want != 0 && (bytes.HasPrefix(a, b) || bytes.HasPrefix(b, a)) {
		t.Errorf("of %q and %q one begins the other", a, b)
	}
}

func FuzzParse(f *testing.F) {
	for _, x := range tuples {
		f.Add(keys.AppendItem(nil, x.typ, x.value))
		f.Add(keys.AppendIndex(nil, x.typ, x.field, x.value, x.sequence))
		f.Add(keys.AppendCounter(nil, x.typ))
	}
	f.Add([]byte("da\x00\x02b\x00\x01"))
	f.Fuzz(func(t *testing.T, key []byte) {
		before := bytes.Clone(key)
		accepted := 0
		check := func(err error, again func() []byte) {
			if err != nil {
				return
			}
			accepted++
			if got := again(); !bytes.Equal(got, before) {
				t.Errorf("key %q is written as %q", before, got)
			}
		}
		item, err := keys.ParseItem(key)
		check(err, func() []byte { return keys.AppendItem(nil, string(item.Type), item.ID) })
		index, err := keys.ParseIndex(key)
		check(err, func() []byte {
			return keys.AppendIndex(nil, string(index.Type), string(index.Field), index.Value, index.Sequence)
		})
		name, err := keys.ParseCounter(key)
		check(err, func() []byte { return keys.AppendCounter(nil, string(name)) })
		if accepted > 1 {
			t.Errorf("key %q is of %d kinds", before, accepted)
		}
		if !bytes.Equal(key, before) {
			t.Errorf("key %q became %q", before, key)
		}
	})
}
