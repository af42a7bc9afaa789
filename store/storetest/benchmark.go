package storetest

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/spire-raft/spire-raft/store"
)

// Sizes of the benchmarks' data.
const (
	benchKeys  = 10_000
	benchPage  = 100
	benchValue = 256
	benchLoad  = 1_000 // keys of one transaction of the loading
)

// Benchmark measures the verbs and a transaction such as SPIRE's, one caller at
// a time and many, on a store of 10,000 keys with values of 256 bytes. Callers
// are spread over the handles.
func Benchmark(b *testing.B, open Open) {
	stores := open(b, Options{})
	value := bytes.Repeat([]byte("v"), benchValue)
	key := func(i int) []byte { return fmt.Appendf(nil, "bench/%06d", i%benchKeys) }
	for from := 0; from < benchKeys; from += benchLoad {
		pairs := make([]store.Pair, benchLoad)
		for i := range pairs {
			pairs[i] = store.Pair{Key: key(from + i), Value: value}
		}
		if _, err := stores[0].Put(b.Context(), pairs...); err != nil {
			b.Fatal(err)
		}
	}

	var calls atomic.Int64 // a running number, so that no two writers share keys for long
	put := func(ctx context.Context, s store.Store) error {
		_, err := s.Put(ctx, store.Pair{Key: key(int(calls.Add(1))), Value: value})
		return err
	}
	get := func(c store.Consistency) func(context.Context, store.Store) error {
		return func(ctx context.Context, s store.Store) error {
			_, _, err := s.Get(ctx, c, store.Key(key(int(calls.Add(1)))))
			return err
		}
	}
	scan := func(ctx context.Context, s store.Store) error {
		return store.View(ctx, s, store.Linearizable(), func(tx store.Tx) error {
			r := store.Range{Start: key(int(calls.Add(1)) % (benchKeys - benchPage))}
			_, err := tx.Scan(ctx, r, benchPage)
			return err
		})
	}
	create := func(ctx context.Context, s store.Store) error { return benchCreate(ctx, s, calls.Add(1), value) }

	for _, bench := range []struct {
		name string
		call func(context.Context, store.Store) error
	}{
		{"Put", put},
		{"Get", get(store.Linearizable())},
		{"GetLocal", get(store.AtLeast(0))},
		{"Scan100", scan},
		{"TxCreate", create},
	} {
		b.Run(bench.name+"/Serial", func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				if err := bench.call(b.Context(), stores[i%len(stores)]); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(bench.name+"/Parallel64", func(b *testing.B) { benchParallel(b, stores, bench.call) })
	}
}

// benchParallel has 64 callers or a few more, as many as go on each processor.
func benchParallel(b *testing.B, stores []store.Store, call func(context.Context, store.Store) error) {
	const callers = 64
	b.SetParallelism((callers + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
	var next atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		s := stores[int(next.Add(1))%len(stores)]
		for pb.Next() {
			if err := call(b.Context(), s); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// benchCreate creates an object: it must not exist, it gets three index keys
// that end in a number, and an event with a number of its own.
func benchCreate(ctx context.Context, s store.Store, id int64, value []byte) error {
	_, err := store.Update(ctx, s, func(tx store.Tx) error {
		item := fmt.Appendf(nil, "create/item/%d", id)
		if _, found, err := tx.Get(ctx, item); err != nil || found {
			return err
		}
		if err := tx.Put(item, value); err != nil {
			return err
		}
		for _, index := range []struct{ counter, key string }{
			{"create/n", fmt.Sprintf("create/index/a/%d/", id%100)},
			{"create/n", fmt.Sprintf("create/index/b/%d/", id%1000)},
			{"create/events", "create/event/"},
		} {
			seq, err := tx.Sequence([]byte(index.counter))
			if err != nil {
				return err
			}
			key := []byte(index.key)
			if err := tx.Put(withPlaceholder(key), item, patchKeyEnd(key, seq)); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}
