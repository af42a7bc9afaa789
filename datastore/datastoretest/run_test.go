package datastoretest_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/spire-raft/spire-raft/datastore/datastoretest"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRun(t *testing.T) {
	datastoretest.Run(t, func(tb testing.TB) []store.Store {
		s := memstore.New(memstore.Config{})
		tb.Cleanup(func() {
			if err := s.Close(); err != nil {
				tb.Error(err)
			}
		})
		return []store.Store{s, s}
	})
}
