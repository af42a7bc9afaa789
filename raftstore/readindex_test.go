package raftstore_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/store"
)

// A follower may apply an entry before its leader does. Who has read there what
// the entry did must find it on the leader too.
func TestRead_LeaderBehindItsFollowers(t *testing.T) {
	t.Parallel()
	holds := make(map[string]*atomic.Pointer[chan struct{}])
	c := startCluster(t, 3, func(cfg *raftstore.Config) {
		hold := &atomic.Pointer[chan struct{}]{}
		holds[filepath.Base(cfg.Dir)] = hold
		cfg.BeforeApply(func() {
			if stop := hold.Load(); stop != nil {
				<-*stop
			}
		})
	})
	key := []byte("k")
	if _, err := c.nodes[0].Put(c.ctx(), store.Pair{Key: key, Value: []byte("old")}); err != nil {
		t.Fatal(err)
	}
	c.converged()
	leader, follower := c.nodes[0], c.nodes[c.follower()]

	stop := make(chan struct{})
	holds[leader.Status().NodeID].Store(&stop)
	written := make(chan error, 1)
	go func() {
		_, err := leader.Put(context.WithoutCancel(c.ctx()), store.Pair{Key: key, Value: []byte("new")})
		written <- err
	}()
	get := func(ctx context.Context, n *raftstore.Node) (string, error) {
		kvs, _, err := n.Get(ctx, store.Linearizable(), store.Key(key))
		if err != nil {
			return "", err
		}
		return string(kvs[0].Value), nil
	}
	c.eventually("the follower has the new value", func() error {
		switch got, err := get(c.ctx(), follower); {
		case err != nil:
			return err
		case got != "new":
			return fmt.Errorf("it has %q", got)
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(c.ctx(), 300*time.Millisecond)
	defer cancel()
	if got, err := get(ctx, leader); err == nil && got != "new" {
		t.Errorf("the leader has %q after its follower had %q", got, "new")
	}
	close(stop)
	if err := <-written; err != nil {
		t.Error(err)
	}
	if got, err := get(c.ctx(), leader); err != nil || got != "new" {
		t.Errorf("the leader has %q, %v", got, err)
	}
}
