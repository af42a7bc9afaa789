package raftstore_test

import (
	"testing"

	"github.com/spire-raft/spire-raft/store"
)

func TestCluster_WriteOnOneReadOnAll(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, nil)
	for i, n := range c.nodes {
		key := []byte{'k', byte('0' + i)}
		rev, err := n.Put(c.ctx(), store.Pair{Key: key, Value: value(100)})
		if err != nil {
			t.Fatalf("put through node %d: %v", i, err)
		}
		for j, m := range c.nodes {
			kvs, at, err := m.Get(c.ctx(), store.Linearizable(), store.Key(key))
			if err != nil || len(kvs) != 1 || kvs[0].ModRevision != rev || at < rev {
				t.Errorf("get on node %d of what node %d put at revision %d: %d pairs at %d, %v", j, i, rev, len(kvs), at, err)
			}
		}
	}
	c.converged()
}
