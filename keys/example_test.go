package keys_test

import (
	"fmt"

	"github.com/spire-raft/spire-raft/keys"
	"github.com/spire-raft/spire-raft/store"
)

func ExampleAppendItem() {
	key := keys.AppendItem(nil, "agent", "spiffe://example.org/spire/agent/a1")
	fmt.Printf("%q\n", key)

	item, err := keys.ParseItem(key)
	fmt.Printf("%s %s %v\n", item.Type, item.ID, err)
	// Output:
	// "dagent\x00\x01spiffe://example.org/spire/agent/a1\x00\x01"
	// agent spiffe://example.org/spire/agent/a1 <nil>
}

// An index entry whose number the store fills in when it commits.
func ExampleAppendIndexUnnumbered() {
	key, offset := keys.AppendIndexUnnumbered(nil, "entry", "hint", "internal")

	// In a transaction:
	//	number, err := tx.Sequence(keys.AppendCounter(nil, "entry"))
	number := store.Sequence{Nth: 0}
	patch := store.Patch{Sequence: number, Target: store.PatchKey, Offset: offset}
	//	err = tx.Put(key, []byte(entryID), patch)

	fmt.Printf("%q\n%+v\n", key, patch)
	// Output:
	// "ientry\x00\x01hint\x00\x01internal\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00"
	// {Sequence:{Nth:0} Target:1 Offset:24}
}

// The next page of a listing, behind the entry with number 41.
func ExampleIndexAfter() {
	start, end := keys.IndexAfter("entry", "hint", "internal", 41)
	rest := store.Range{Start: start, End: end}

	for _, sequence := range []uint64{40, 41, 42} {
		fmt.Println(sequence, rest.Contains(keys.AppendIndex(nil, "entry", "hint", "internal", sequence)))
	}
	fmt.Println(rest.Contains(keys.AppendIndex(nil, "entry", "hint", "internally", 42)))
	// Output:
	// 40 false
	// 41 false
	// 42 true
	// false
}

// The entries of agents that expire before a time are a range of values.
func ExampleAppendValuePrefix() {
	before := store.Range{
		Start: keys.AppendFieldPrefix(nil, "agent", "expires"),
		End:   keys.AppendValuePrefix(nil, "agent", "expires", "2026-01-01"),
	}
	for _, day := range []string{"2025-12-31", "2026-01-01"} {
		fmt.Println(day, before.Contains(keys.AppendIndex(nil, "agent", "expires", day, 7)))
	}
	// Output:
	// 2025-12-31 true
	// 2026-01-01 false
}

func ExampleParseIndex() {
	key := keys.AppendIndex(nil, "entry", "hint", "internal", 42)
	index, err := keys.ParseIndex(key)
	fmt.Printf("%s.%s = %s, number %d, %v\n", index.Type, index.Field, index.Value, index.Sequence, err)

	_, err = keys.ParseItem(key)
	fmt.Println(err)
	// Output:
	// entry.hint = internal, number 42, <nil>
	// malformed key: it is of kind 'i', not 'd'
}
