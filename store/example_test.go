package store_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/memstore"
)

// Update runs its function again until nothing it read has changed meanwhile,
// so a check and the write that depends on it are one step.
func ExampleUpdate() {
	ctx := context.Background()
	s := memstore.New(memstore.Config{})
	defer s.Close()

	errTaken := errors.New("the name is taken")
	register := func(name string) (uint64, error) {
		var seq store.Sequence
		res, err := store.Update(ctx, s, func(tx store.Tx) error {
			_, found, err := tx.Get(ctx, []byte("name/"+name))
			if err != nil {
				return err
			}
			if found {
				return errTaken
			}
			// The number is known only when the transaction commits, so that
			// registrations of other names don't conflict.
			if seq, err = tx.Sequence([]byte("members")); err != nil {
				return err
			}
			return tx.Put([]byte("name/"+name), make([]byte, store.PatchSize), store.Patch{Sequence: seq, Target: store.PatchValue})
		})
		if err != nil {
			return 0, err
		}
		return res.Number(seq), nil
	}

	for _, name := range []string{"ada", "grace", "ada"} {
		fmt.Print(name, ": ")
		fmt.Println(register(name))
	}
	// Output:
	// ada: 1 <nil>
	// grace: 2 <nil>
	// ada: 0 the name is taken
}

// A scan with a limit reads page by page, on one snapshot.
func ExampleView() {
	ctx := context.Background()
	s := memstore.New(memstore.Config{})
	defer s.Close()
	for _, k := range []string{"fruit/apple", "fruit/cherry", "fruit/fig", "leek"} {
		if _, err := s.Put(ctx, store.Pair{Key: []byte(k)}); err != nil {
			fmt.Println(err)
		}
	}

	const page = 2
	err := store.View(ctx, s, store.Linearizable(), func(tx store.Tx) error {
		for r := store.Prefix([]byte("fruit/")); ; {
			kvs, err := tx.Scan(ctx, r, page)
			if err != nil {
				return err
			}
			for _, kv := range kvs {
				fmt.Println(string(kv.Key), "of revision", kv.ModRevision)
			}
			if len(kvs) < page {
				return nil
			}
			r = r.After(kvs[len(kvs)-1].Key)
		}
	})
	fmt.Println(err)
	// Output:
	// fruit/apple of revision 1
	// fruit/cherry of revision 2
	// fruit/fig of revision 3
	// <nil>
}

// A listing and a watch from its cursor see every change exactly once.
func ExampleStore_watch() {
	ctx := context.Background()
	s := memstore.New(memstore.Config{})
	defer s.Close()
	put := func(key, value string) {
		if _, err := s.Put(ctx, store.Pair{Key: []byte(key), Value: []byte(value)}); err != nil {
			fmt.Println(err)
		}
	}

	put("a", "listed")
	var cursor store.Cursor
	err := store.View(ctx, s, store.Linearizable(), func(tx store.Tx) error {
		kvs, err := tx.Scan(ctx, store.Range{}, 0)
		if err != nil {
			return err
		}
		fmt.Println("listed", len(kvs))
		cursor, err = tx.Cursor(ctx)
		return err
	})
	if err != nil {
		fmt.Println(err)
	}
	put("a", "watched")

	w, err := s.Watch(ctx, cursor)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer w.Close()
	batch, err := w.Next(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, e := range batch.Events {
		fmt.Printf("%v %s=%s at %v\n", e.Kind, e.Key, e.Value, batch.Cursor)
	}
	// Output:
	// listed 1
	// put a=watched at 1/2
}
