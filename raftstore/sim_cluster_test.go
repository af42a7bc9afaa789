package raftstore_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/transport"
	"github.com/spire-raft/spire-raft/transport/memnet"
)

type sim struct {
	*cluster
	net *memnet.Net
}

func newSim(t *testing.T, seed uint64, adjust func(*raftstore.Config)) *sim {
	c := newCluster(t)
	s := &sim{cluster: c, net: memnet.New(memnet.Config{Seed: seed, Latency: time.Millisecond, Jitter: time.Millisecond})}
	c.network = func(node string) transport.Network { return s.net.Host(node) }
	c.address = func(node string) string { return node + ":7000" }
	if adjust != nil {
		c.adjust = adjust
	}
	return s
}

func TestSimFirst(t *testing.T) {
	for range 3 {
		synctest.Test(t, func(t *testing.T) {
			b := time.Now()
			s := newSim(t, 1, nil)
			s.grow(3)
			t.Log("grown", time.Since(b))
			time.Sleep(60 * time.Second)
			s.converged()
			t.Log(time.Since(b))
		})
	}
}
