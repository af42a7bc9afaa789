package raftstore_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/store"
)

// A cluster of one node, which is its own certificate authority. Others would be
// opened with Join in the place of Bootstrap, each with a token of its own from
// node.CreateJoinToken.
func Example() {
	ctx := context.Background()
	temp, err := os.MkdirTemp("", "raftstore-example-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(temp)
	dir := filepath.Join(temp, "data")

	if _, err := raftstore.Init(dir, "my-cluster", ""); err != nil { // once for each disk; the node id is generated
		panic(err)
	}
	node, err := raftstore.Open(ctx, raftstore.Config{
		Dir:           dir,
		ListenAddress: "127.0.0.1:0",
		Bootstrap:     true, // on the first node only
		Logger:        slog.New(slog.DiscardHandler),
	})
	if err != nil {
		panic(err)
	}
	defer node.Close()

	key := []byte("greeting")
	change := func(old []byte) []byte { return append(old, ", world"...) }
	if _, err := node.Put(ctx, store.Pair{Key: key, Value: []byte("hello")}); err != nil {
		panic(err)
	}
	res, err := store.Update(ctx, node, func(tx store.Tx) error { // runs again if a concurrent change gets in between
		old, found, err := tx.Get(ctx, key)
		if err != nil || !found {
			return err
		}
		return tx.Put(key, change(old.Value))
	})
	if err != nil {
		panic(err)
	}
	pairs, _, err := node.Get(ctx, store.Linearizable(), store.Key(key))
	if err != nil {
		panic(err)
	}
	for _, p := range pairs {
		fmt.Printf("%s = %s\n", p.Key, p.Value)
	}
	fmt.Println("written by that update:", pairs[0].ModRevision == res.Revision)
	// Output:
	// greeting = hello, world
	// written by that update: true
}
