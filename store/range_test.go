package store_test

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/spire-raft/spire-raft/store"
)

// anyKey draws keys of few bytes, so that prefixes and neighbours are common.
var anyKey = rapid.SliceOfN(rapid.SampledFrom([]byte{0x00, 0x01, 'a', 0xfe, 0xff}), 0, 4)

func anyRange(t *rapid.T) store.Range {
	a, b := anyKey.Draw(t, "a"), anyKey.Draw(t, "b")
	switch rapid.IntRange(0, 3).Draw(t, "kind of range") {
	case 0:
		return store.Prefix(a)
	case 1:
		return store.Key(a)
	case 2:
		return store.Range{Start: a}
	default:
		return store.Range{Start: a, End: b}
	}
}

func TestPrefix_HoldsWhatBeginsWithIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		prefix, key := anyKey.Draw(t, "prefix"), anyKey.Draw(t, "key")
		if got, want := store.Prefix(prefix).Contains(key), bytes.HasPrefix(key, prefix); got != want {
			t.Fatalf("Prefix(%x).Contains(%x): got %v, want %v", prefix, key, got, want)
		}
	})
}

func TestPrefix_Edges(t *testing.T) {
	for _, c := range []struct {
		prefix string
		end    []byte
	}{
		{"", nil},
		{"\xff", nil},
		{"\xff\xff", nil},
		{"a", []byte("b")},
		{"a\xff", []byte("b")},
		{"a\xff\xff", []byte("b")},
		{"\xfe\xff", []byte("\xff")},
		{"a\x00", []byte("a\x01")},
	} {
		r := store.Prefix([]byte(c.prefix))
		if !bytes.Equal(r.End, c.end) || (r.End == nil) != (c.end == nil) {
			t.Errorf("Prefix(%q): got end %q, want %q", c.prefix, r.End, c.end)
		}
	}
}

func TestKey_HoldsOneKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key, other := anyKey.Draw(t, "key"), anyKey.Draw(t, "other")
		if got, want := store.Key(key).Contains(other), bytes.Equal(key, other); got != want {
			t.Fatalf("Key(%x).Contains(%x): got %v, want %v", key, other, got, want)
		}
	})
}

// TestPoint finds the ranges of one key and no others.
func TestPoint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := anyRange(t)
		key, point := r.Point()
		made := store.Key(r.Start)
		want := len(r.Start) > 0 && r.End != nil && bytes.Equal(r.End, made.End)
		if point != want || point && !bytes.Equal(key, r.Start) {
			t.Fatalf("Point of %x to %x: got %x, %v, want %v", r.Start, r.End, key, point, want)
		}
	})
	if _, point := store.Key(nil).Point(); point {
		t.Error("a range of the empty key, which can't be stored, is a point")
	}
}

func TestAfter_IsTheRest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, last, key := anyRange(t), anyKey.Draw(t, "last"), anyKey.Draw(t, "key")
		want := r.Contains(key) && bytes.Compare(key, last) > 0
		if got := r.After(last).Contains(key); got != want {
			t.Fatalf("%x to %x, after %x, contains %x: got %v, want %v", r.Start, r.End, last, key, got, want)
		}
	})
}

// TestRange_ResultsDontGrowIntoTheirInput appends to what the functions return.
func TestRange_ResultsDontGrowIntoTheirInput(t *testing.T) {
	key := append(make([]byte, 0, 16), "key"...)
	r := store.Key(key)
	_ = append(r.Start, '!')
	if point, _ := r.Point(); string(point) != "key" || !bytes.Equal(r.End, []byte("key\x00")) {
		t.Errorf("after an append to its start the range is %q to %q", r.Start, r.End)
	}
	copy(key, "KEY")
	if string(store.Key([]byte("key")).Start) != "key" || string(r.Start) != "key" {
		t.Errorf("after a change of the key its range starts at %q", r.Start)
	}
}
