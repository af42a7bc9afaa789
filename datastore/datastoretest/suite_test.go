package datastoretest_test

import (
	"testing"

	"github.com/spire-raft/spire-raft/datastore/datastoretest"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/memstore"
)

// TestConformance runs the suite on a store in memory, of which two DataStores
// share the data.
func TestConformance(t *testing.T) {
	datastoretest.Run(t, openMemstore)
}

// TestConformance_Cached is the same with a cache for each DataStore.
func TestConformance_Cached(t *testing.T) {
	datastoretest.RunCached(t, openMemstore)
}

func openMemstore(tb testing.TB) []store.Store {
	s := memstore.New(memstore.Config{})
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return []store.Store{s, s}
}
