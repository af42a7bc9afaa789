package datastore_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/spire-raft/spire-raft/keys"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/memstore"
)

// BenchmarkIndexRecord lists 1,000 of 20,000 entries through an index, without
// decoding them, for each place where the id of the object that an index record
// stands for can be:
//
//	value    in the value: the layout of package records
//	key      at the end of the key, with no value
//	both     in the key and, with the type, in the value
//	nowhere  found by the number in the key, through the index of the order
//
// One node of raft and a memstore are measured, all four on the same store.
func BenchmarkIndexRecord(b *testing.B) {
	mem := memstore.New(memstore.Config{})
	b.Cleanup(func() { _ = mem.Close() })
	for _, on := range []struct {
		name string
		s    store.Store
	}{{"memstore", mem}, {"node", openNodes(b, 1)[0]}} {
		b.Run(on.name, func(b *testing.B) { benchmarkIndexRecord(b, on.s) })
	}
}

const (
	indexedEntries  = 20_000
	indexedByParent = 1000
)

func benchmarkIndexRecord(b *testing.B, s store.Store) {
	layouts := []*indexLayout{
		{name: "value", record: func(field, parent, id string, n uint64) store.Pair {
			return store.Pair{Key: keys.AppendIndex(nil, "entry", field, parent, n), Value: []byte(id)}
		}, inValue: true},
		{name: "key", record: func(field, parent, id string, n uint64) store.Pair {
			return store.Pair{Key: append(keys.AppendIndex(nil, "entry", field, parent, n), id...)}
		}, inKey: true},
		{name: "both", record: func(field, parent, id string, n uint64) store.Pair {
			return store.Pair{Key: append(keys.AppendIndex(nil, "entry", field, parent, n), id...), Value: []byte("entry:" + id)}
		}, inKey: true},
		{name: "nowhere", record: func(field, parent, _ string, n uint64) store.Pair {
			return store.Pair{Key: keys.AppendIndex(nil, "entry", field, parent, n)}
		}},
	}
	var pairs []store.Pair
	put := func(least int) {
		for len(pairs) >= max(least, 1) {
			n := min(len(pairs), 4000)
			if _, err := s.Put(b.Context(), pairs[:n]...); err != nil {
				b.Fatal(err)
			}
			pairs = pairs[n:]
		}
	}
	itemBytes := 0
	for i := range indexedEntries {
		number := uint64(i + 1)
		e := benchEntry(i)
		value, err := records.Entries.Encode(records.Item[*spirev1.RegistrationEntry]{Number: number, Object: e})
		if err != nil {
			b.Fatal(err)
		}
		itemBytes += len(records.Entries.Key(e.EntryId)) + len(value)
		pairs = append(pairs,
			store.Pair{Key: records.Entries.Key(e.EntryId), Value: value},
			store.Pair{Key: keys.AppendIndex(nil, "entry", "", "", number), Value: []byte(e.EntryId)})
		parent := benchParent(i % (indexedEntries / indexedByParent) * 100)
		for _, l := range layouts {
			p := l.record("parent-"+l.name, parent, e.EntryId, number)
			l.bytes += len(p.Key) + len(p.Value) - len(l.name) - len("-") + len("_id")
			pairs = append(pairs, p)
		}
		put(4000)
	}
	put(0)
	for _, l := range layouts {
		for _, items := range []bool{true, false} {
			b.Run(fmt.Sprintf("id=%s/items=%v", l.name, items), func(b *testing.B) {
				l.list(b, s, items)
				b.ReportMetric(float64(l.bytes)/indexedEntries, "B/record")
				b.ReportMetric(float64(itemBytes)/indexedEntries, "B/item")
			})
		}
	}
}

// indexLayout is a way to write a record of an index.
type indexLayout struct {
	name           string
	record         func(field, parent, id string, number uint64) store.Pair
	inKey, inValue bool // where the id is; else it is found through the index of the order
	bytes          int  // of all records
}

// list reads the records of a parent and, if wanted, the items they stand for.
func (l *indexLayout) list(b *testing.B, s store.Store, items bool) {
	ctx := b.Context()
	prefix := keys.AppendValuePrefix(nil, "entry", "parent-"+l.name, benchParent(0))
	r := store.Prefix(prefix)
	b.ReportAllocs()
	for b.Loop() {
		err := store.View(ctx, s, store.Linearizable(), func(tx store.Tx) error {
			found, err := tx.Scan(ctx, r, 0)
			if err != nil {
				return err
			}
			if len(found) != indexedByParent {
				return fmt.Errorf("%d records", len(found))
			}
			for _, kv := range found {
				id, err := l.id(ctx, tx, kv, len(prefix))
				if err != nil {
					return err
				}
				if !items {
					continue
				}
				if _, ok, err := tx.Get(ctx, records.Entries.Key(id)); err != nil {
					return err
				} else if !ok {
					return fmt.Errorf("no item %q", id)
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/indexedByParent, "ns/record")
}

// id returns the id of the item of a record, whose number is at offset.
func (l *indexLayout) id(ctx context.Context, tx store.Tx, kv store.KeyValue, offset int) (string, error) {
	switch {
	case l.inValue:
		return string(kv.Value), nil
	case l.inKey:
		return string(kv.Key[offset+store.PatchSize:]), nil
	}
	key := append(keys.AppendValuePrefix(nil, "entry", "", ""), kv.Key[offset:]...)
	order, _, err := tx.Get(ctx, key)
	return string(order.Value), err
}
