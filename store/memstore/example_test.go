package memstore_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/memstore"
)

// Code that takes a store.Store is tested with a memstore, conflicts included:
// here two transactions meet, as they would on two servers.
func ExampleNew() {
	ctx := context.Background()
	s := memstore.New(memstore.Config{})
	defer s.Close()

	tx, err := s.Begin(ctx, store.TxOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer tx.Abort()
	_, found, err := tx.Get(ctx, []byte("leader"))
	fmt.Println("found:", found, err)

	rev, err := s.Put(ctx, store.Pair{Key: []byte("leader"), Value: []byte("someone else")})
	fmt.Println("put at revision", rev, err)

	if err := tx.Put([]byte("leader"), []byte("me")); err != nil {
		fmt.Println(err)
	}
	_, err = tx.Commit(ctx)
	fmt.Println("conflict:", errors.Is(err, store.ErrConflict))
	// Output:
	// found: false <nil>
	// put at revision 1 <nil>
	// conflict: true
}

// A small history shows what a watcher does that has fallen behind.
func ExampleConfig() {
	ctx := context.Background()
	s := memstore.New(memstore.Config{HistoryBytesMax: 100})
	defer s.Close()
	for range 10 {
		if _, err := s.Put(ctx, store.Pair{Key: []byte("key"), Value: make([]byte, 47)}); err != nil {
			fmt.Println(err)
		}
	}

	w, err := s.Watch(ctx, store.Cursor{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer w.Close()
	_, err = w.Next(ctx)
	fmt.Println(err)
	// Output:
	// history is compacted up to revision 8 (now at 10, epoch 1): list again and watch from there
}
