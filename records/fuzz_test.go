package records_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/spire-raft/spire-raft/records"
)

// FuzzDecode reads bytes as every kind of object. What it can read it must be
// able to write, and read again as the same.
func FuzzDecode(f *testing.F) {
	for _, data := range readMessages(f) {
		f.Add("id", append(make([]byte, 8), data...))
	}
	f.Add("", []byte{})
	f.Fuzz(func(t *testing.T, id string, value []byte) {
		fuzzKind(t, records.Bundles, id, value)
		fuzzKind(t, records.Entries, id, value)
		fuzzKind(t, records.Nodes, id, value)
		fuzzKind(t, records.NodeSelectorSets, id, value)
		fuzzKind(t, records.JoinTokens, id, value)
		fuzzKind(t, records.FederationRelationships, id, value)
		fuzzKind(t, records.CAJournals, id, value)
		if _, err := records.EntryEvents.DecodePair([]byte(id), value); err != nil && !errors.Is(err, records.ErrMalformed) {
			t.Errorf("event: %v", err)
		}
	})
}

func fuzzKind[T any](t *testing.T, kind *records.Kind[T], id string, value []byte) {
	t.Helper()
	if _, err := kind.Posting([]byte(id), value); err != nil && !errors.Is(err, records.ErrMalformed) {
		t.Errorf("%s: %v", kind.Type(), err)
	}
	item, err := kind.Decode(id, value)
	if err != nil {
		if !errors.Is(err, records.ErrMalformed) {
			t.Errorf("%s: %v", kind.Type(), err)
		}
		return
	}
	written, err := kind.Encode(item)
	if err != nil {
		t.Fatalf("%s: reads what it can't write: %v", kind.Type(), err)
	}
	again, err := kind.Decode(id, written)
	if err != nil {
		t.Fatalf("%s: writes what it can't read: %v", kind.Type(), err)
	}
	if rewritten, err := kind.Encode(again); err != nil || !bytes.Equal(rewritten, written) {
		t.Errorf("%s: %x becomes %x, %v", kind.Type(), written, rewritten, err)
	}
}

// FuzzSelectorValue tests that selectors and their index values correspond one
// to one.
func FuzzSelectorValue(f *testing.F) {
	f.Add("unix", "uid:0", "\x04unixuid:0")
	f.Add("", "", "\x80\x00")
	f.Fuzz(func(t *testing.T, typ, value, encoded string) {
		gotType, gotValue, err := records.ParseSelectorValue(records.SelectorValue(typ, value))
		if err != nil || gotType != typ || gotValue != value {
			t.Errorf("%q %q reads as %q %q, %v", typ, value, gotType, gotValue, err)
		}
		gotType, gotValue, err = records.ParseSelectorValue(encoded)
		if err == nil && records.SelectorValue(gotType, gotValue) != encoded {
			t.Errorf("%q is a second form of %q %q", encoded, gotType, gotValue)
		}
	})
}
