package memstore_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/memstore"
	"github.com/spire-raft/spire-raft/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(tb testing.TB, opts storetest.Options) []store.Store {
	s := memstore.New(memstore.Config{HistoryBytesMax: opts.HistoryBytesMax})
	tb.Cleanup(func() { s.Close() })
	return []store.Store{s, s}
}

func TestConformance(t *testing.T) { storetest.Run(t, open) }

func TestModel(t *testing.T) { storetest.RunModel(t, open) }

func BenchmarkStore(b *testing.B) { storetest.Benchmark(b, open) }
