//go:build !race

package raftstore_test

import (
	"testing"

	"github.com/spire-raft/spire-raft/datastore/datastoretest"
)

// The race detector watches one run of the suite, the one through all there is:
// a cache, a follower, a leader. It takes minutes for each of these.

func TestDataStore_ThroughTheLeader(t *testing.T) {
	t.Parallel()
	dataStore(t, leaderOnly, datastoretest.Run)
}

func TestDataStore_ThroughFollowers(t *testing.T) {
	t.Parallel()
	dataStore(t, followersOnly, datastoretest.Run)
}
