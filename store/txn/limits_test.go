package txn_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/txn"
)

func numbered(i int) []byte { return binary.BigEndian.AppendUint32([]byte("k/"), uint32(i)) }

// fill puts so many keys that one more would be too many.
func fill(t *testing.T, tx store.Tx) {
	t.Helper()
	for i := range store.TxOpsMax {
		check(t, "put below the limit", tx.Put(numbered(i), nil))
	}
}

func TestLimits_Ops(t *testing.T) {
	for name, spend := range map[string]func(tx store.Tx) error{
		"put":      func(tx store.Tx) error { return tx.Put([]byte("more"), nil) },
		"delete":   func(tx store.Tx) error { return tx.Delete([]byte("more")) },
		"sequence": func(tx store.Tx) error { _, err := tx.Sequence([]byte("more")); return err },
		"raise":    func(tx store.Tx) error { return tx.RaiseSequence([]byte("more"), 1) },
		"delete range": func(tx store.Tx) error {
			_, err := tx.DeleteRange(t.Context(), store.Prefix([]byte("old")))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake("old/1", "", "old/2", "")
			tx := begin(t, f.runner(), store.TxOptions{})
			fill(t, tx)
			if err := spend(tx); !errors.Is(err, store.ErrTooLarge) {
				t.Errorf("one more: got error %v, want %v", err, store.ErrTooLarge)
			}
			check(t, "put of a key that is already written", tx.Put(numbered(1), []byte("again")))
			check(t, "delete of a key that is already written", tx.Delete(numbered(2)))
			_, err := tx.Commit(t.Context())
			check(t, "commit", err)
			in := f.intents[0]
			if len(in.Writes) != store.TxOpsMax || len(in.Counters)+len(in.Raises) != 0 {
				t.Errorf("intent has %d writes, %d counters, %d raises, want %d, 0, 0", len(in.Writes), len(in.Counters), len(in.Raises), store.TxOpsMax)
			}
		})
	}
}

func TestLimits_DeleteRangeIsAllOrNothing(t *testing.T) {
	f := newFake("old/1", "", "old/2", "", "old/3", "")
	tx := begin(t, f.runner(), store.TxOptions{})
	for i := range store.TxOpsMax - 2 {
		check(t, "put", tx.Put(numbered(i), nil))
	}
	old := store.Prefix([]byte("old"))
	if _, err := tx.DeleteRange(t.Context(), old); !errors.Is(err, store.ErrTooLarge) {
		t.Fatalf("delete of three keys where two fit: got error %v, want %v", err, store.ErrTooLarge)
	}
	if n, err := tx.Count(t.Context(), old); n != 3 || err != nil {
		t.Errorf("keys left after the refused delete: got %d and error %v, want 3", n, err)
	}
	check(t, "delete of one of them", tx.Delete([]byte("old/2")))
	if n, err := tx.DeleteRange(t.Context(), store.Prefix([]byte("old/1"))); n != 1 || err != nil {
		t.Errorf("delete of what fits: got %d and error %v, want 1", n, err)
	}
	if err := tx.Put([]byte("more"), nil); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("put behind deletes that reach the limit: got error %v, want %v", err, store.ErrTooLarge)
	}
}

// TestLimits_Bytes spends TxBytesMax in each way there is.
func TestLimits_Bytes(t *testing.T) {
	value := bytes.Repeat([]byte("v"), store.ValueBytesMax)
	long := func(i int) []byte { return append(numbered(i), make([]byte, store.KeyBytesMax-6)...) }
	const longMax = store.TxBytesMax / store.KeyBytesMax // of which fewer fit
	for name, c := range map[string]struct {
		spend func(tx store.Tx, i int) error
		max   int
	}{
		"values": {func(tx store.Tx, i int) error { return tx.Put(numbered(i), value) }, store.TxBytesMax / store.ValueBytesMax},
		"keys":   {func(tx store.Tx, i int) error { return tx.Delete(long(i)) }, longMax},
		"counters": {func(tx store.Tx, i int) error {
			_, err := tx.Sequence(long(i))
			return err
		}, longMax},
		"points": {func(tx store.Tx, i int) error {
			_, _, err := tx.Get(t.Context(), long(i))
			return err
		}, longMax},
		"ranges": {func(tx store.Tx, i int) error {
			_, err := tx.Count(t.Context(), store.Prefix(long(i)))
			return err
		}, longMax},
		"ranges that join, but get longer": {func(tx store.Tx, i int) error {
			r := store.Range{Start: []byte{byte(i)}, End: append([]byte{byte(i + 1)}, make([]byte, store.TxBytesMax/4*i)...)}
			if i > 0 {
				r.Start = append([]byte{byte(i)}, make([]byte, store.TxBytesMax/4*(i-1))...)
			}
			_, err := tx.Count(t.Context(), r)
			return err
		}, 5},
	} {
		t.Run(name, func(t *testing.T) {
			tx := begin(t, newFake().runner(), store.TxOptions{})
			var err error
			for i := 0; i < c.max && err == nil; i++ {
				err = c.spend(tx, i)
			}
			if !errors.Is(err, store.ErrTooLarge) {
				t.Errorf("got error %v, want %v", err, store.ErrTooLarge)
			}
		})
	}
}

// TestLimits_WhatIsReplacedCostsNothing writes and reads the same over and over.
func TestLimits_WhatIsReplacedCostsNothing(t *testing.T) {
	value := bytes.Repeat([]byte("v"), store.ValueBytesMax)
	long := bytes.Repeat([]byte("k"), store.KeyBytesMax)
	tx := begin(t, newFake().runner(), store.TxOptions{})
	for range 2 * store.TxBytesMax / store.ValueBytesMax {
		check(t, "put", tx.Put([]byte("k"), value))
	}
	for range 2 * store.TxBytesMax / store.KeyBytesMax {
		_, _, err := tx.Get(t.Context(), long)
		check(t, "get", err)
	}
}

func TestLimits_ReadOnlyReadsAsMuchAsItLikes(t *testing.T) {
	tx := begin(t, newFake().runner(), store.TxOptions{ReadOnly: true})
	for i := range 2 * store.TxBytesMax / store.KeyBytesMax {
		key := append(numbered(i), make([]byte, store.KeyBytesMax-6)...)
		_, _, err := tx.Get(t.Context(), key)
		check(t, "get", err)
		_, err = tx.Count(t.Context(), store.Prefix(key))
		check(t, "count", err)
	}
}

func TestLimits_ScanBytes(t *testing.T) {
	f := newFake()
	value := bytes.Repeat([]byte("v"), store.ValueBytesMax)
	for i := range store.ScanBytesMax / store.ValueBytesMax {
		f.pairs[string(numbered(i))] = store.KeyValue{Key: numbered(i), Value: value}
	}
	tx := begin(t, f.runner(), store.TxOptions{})
	if _, err := tx.Scan(t.Context(), store.Range{}, 0); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("scan of ScanBytesMax and its keys: got error %v, want %v", err, store.ErrTooLarge)
	}
	kvs, err := tx.Scan(t.Context(), store.Range{}, len(f.pairs)-1)
	if err != nil || len(kvs) != len(f.pairs)-1 {
		t.Errorf("scan of a page below ScanBytesMax: got %d pairs and error %v", len(kvs), err)
	}
}

func TestCheckWrite(t *testing.T) {
	number := make([]byte, store.PatchSize)
	for _, c := range []struct {
		name string
		w    txn.Write
		want error
	}{
		{"a put", txn.Write{Key: []byte("k")}, nil},
		{"no key", txn.Write{Value: number}, store.ErrInvalid},
		{"the longest key", txn.Write{Key: make([]byte, store.KeyBytesMax)}, nil},
		{"a longer key", txn.Write{Key: make([]byte, store.KeyBytesMax+1)}, store.ErrTooLarge},
		{"the largest value", txn.Write{Key: []byte("k"), Value: make([]byte, store.ValueBytesMax)}, nil},
		{"a larger value", txn.Write{Key: []byte("k"), Value: make([]byte, store.ValueBytesMax+1)}, store.ErrTooLarge},
		{"a patch that fits", txn.Write{Key: number, Patches: []store.Patch{{Target: store.PatchKey}}}, nil},
		{"a patch in the other part", txn.Write{Key: number, Patches: []store.Patch{{Target: store.PatchValue}}}, store.ErrInvalid},
		{"a patch of nothing", txn.Write{Key: number, Patches: []store.Patch{{}}}, store.ErrInvalid},
		{"a patch over the end", txn.Write{Key: number, Patches: []store.Patch{{Target: store.PatchKey, Offset: 1}}}, store.ErrInvalid},
		{"a patch far away", txn.Write{Key: number, Patches: []store.Patch{{Target: store.PatchKey, Offset: math.MaxInt}}}, store.ErrInvalid},
		{"a patch before the start", txn.Write{Key: number, Patches: []store.Patch{{Target: store.PatchKey, Offset: -1}}}, store.ErrInvalid},
		{"a patch with the last number", txn.Write{Key: number, Patches: []store.Patch{{Sequence: store.Sequence{Nth: 1}, Target: store.PatchKey}}}, nil},
		{"a patch with a later number", txn.Write{Key: number, Patches: []store.Patch{{Sequence: store.Sequence{Nth: 2}, Target: store.PatchKey}}}, store.ErrInvalid},
		{"a patch with an earlier number", txn.Write{Key: number, Patches: []store.Patch{{Sequence: store.Sequence{Nth: -1}, Target: store.PatchKey}}}, store.ErrInvalid},
	} {
		if err := txn.CheckWrite(&c.w, 2); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: got error %v, want %v", c.name, err, c.want)
		}
	}
}

// FuzzPatched checks that a write which passes CheckWrite can be patched.
func FuzzPatched(f *testing.F) {
	f.Add([]byte("12345678"), []byte("12345678"), uint8(store.PatchKey), 0, 0)
	f.Add([]byte("k12345678"), []byte{}, uint8(store.PatchKey), 1, 1)
	f.Add([]byte("k"), []byte("v12345678"), uint8(store.PatchValue), 1, 2)
	f.Fuzz(func(t *testing.T, key, value []byte, target uint8, offset, nth int) {
		numbers := []uint64{1, math.MaxUint64}
		w := txn.Write{Kind: store.EventPut, Key: key, Value: value, Patches: []store.Patch{
			{Target: store.PatchTarget(target), Offset: offset, Sequence: store.Sequence{Nth: nth}},
		}}
		if txn.CheckWrite(&w, len(numbers)) != nil {
			return
		}
		before := fmt.Sprint(key, value)
		gotKey, gotValue := w.Patched(numbers)
		if len(gotKey) != len(key) || len(gotValue) != len(value) {
			t.Errorf("patched: %d bytes of key and %d of value became %d and %d", len(key), len(value), len(gotKey), len(gotValue))
		}
		if fmt.Sprint(w.Key, w.Value) != before {
			t.Error("patching changed the write")
		}
		patched := gotKey
		if w.Patches[0].Target == store.PatchValue {
			patched = gotValue
		}
		if got := binary.BigEndian.Uint64(patched[offset:]); got != numbers[nth] {
			t.Errorf("number in the patched bytes: got %d, want %d", got, numbers[nth])
		}
	})
}
