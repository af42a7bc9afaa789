// Package storetest is the proof that a [store.Store] must pass: [Run] checks
// the contract case by case, [RunModel] compares random transactions with
// package memstore, and [Benchmark] measures what every backend can be
// compared by. A backend's test calls each with a function that opens it:
//
//	func TestStore(t *testing.T) { storetest.Run(t, open) }
//	func TestModel(t *testing.T) { storetest.RunModel(t, open) }
//
//	func open(tb testing.TB, opts storetest.Options) []store.Store {
//		s := memstore.New(memstore.Config{HistoryBytesMax: opts.HistoryBytesMax})
//		tb.Cleanup(func() { s.Close() })
//		return []store.Store{s}
//	}
//
// A backend with several servers returns a handle on each, and the suite
// writes through one and reads through another.
//
// Conflicts are checked in both directions, by the rules of package txn: where
// something that was read has changed a commit must fail, and where nothing has
// it must succeed. A backend that reports conflicts to be on the safe side does
// not pass.
//
// The suite expects the errors of the contract from a healthy backend: one that
// loses its leader meanwhile fails the test.
package storetest
