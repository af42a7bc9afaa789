package fsm_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/spire-raft/spire-raft/fsm"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/txn"
)

// benchEntry is an entry with n transactions that put 512 bytes each, under
// keys that are spread over 100,000.
func benchEntry(b *testing.B, index uint64, n int) fsm.Entry {
	b.Helper()
	cmds := make([][]byte, n)
	for i := range cmds {
		cmds[i] = writes(b, benchPut(index*uint64(n)+uint64(i)))
	}
	return entry(index, cmds...)
}

func benchPut(i uint64) txn.Write {
	value := make([]byte, 512)
	binary.BigEndian.PutUint64(value, i)
	return put(fmt.Sprintf("bench/%08d", i*7919%100_000), string(value))
}

// fill puts n pairs of 512 bytes.
func fill(b *testing.B, m *fsm.Machine, n int) {
	b.Helper()
	for i := 0; i < n; i += 1000 {
		cmds := make([][]byte, 1000)
		for j := range cmds {
			cmds[j] = writes(b, benchPut(uint64(i+j)))
		}
		apply(b, m, cmds...)
	}
}

func BenchmarkApply(b *testing.B) {
	for _, synced := range []bool{true, false} {
		for _, n := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("sync=%v/puts=%d", synced, n), func(b *testing.B) {
				opts := fsm.Options{Dir: b.TempDir(), ClusterID: cluster}
				if !synced {
					opts = opts.ForTests()
				}
				m, err := fsm.Open(opts)
				if err != nil {
					b.Fatal(err)
				}
				defer closeMachine(b, m)
				fill(b, m, 100_000)
				first := m.Position().Index + 1
				entries := make([]fsm.Entry, min(b.N, 4096))
				b.ReportAllocs()
				b.ResetTimer()
				for i := range b.N {
					if i%len(entries) == 0 {
						b.StopTimer()
						for j := range entries {
							entries[j] = benchEntry(b, first+uint64(i+j), n)
						}
						b.StartTimer()
					}
					applyAll(b, m, entries[i%len(entries)])
				}
				b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/put")
			})
		}
	}
}

// BenchmarkApplyRange validates a range of 100,000 keys against 100 revisions.
func BenchmarkApplyRange(b *testing.B) {
	m := open(b)
	fill(b, m, 100_000)
	in := &txn.Intent{
		ReadRevision: m.Position().Cursor.Revision - 100,
		Ranges:       []store.Range{store.Prefix([]byte("other/"))},
		Raises:       []txn.Raise{{Counter: []byte("c"), Floor: 1}},
	}
	cmds := make([][]byte, 64)
	for i := range cmds {
		cmds[i] = transaction(b, in)
	}
	for b.Loop() {
		apply(b, m, cmds...)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*len(cmds)), "µs/tx")
}

func BenchmarkGet(b *testing.B) {
	m := open(b)
	fill(b, m, 100_000)
	key := benchPut(1).Key
	b.ReportAllocs()
	for b.Loop() {
		v, err := m.View()
		if err != nil {
			b.Fatal(err)
		}
		if _, found, err := v.Get(key); err != nil || !found {
			b.Fatal(found, err)
		}
		v.Close()
	}
}

func BenchmarkScan(b *testing.B) {
	m := open(b)
	fill(b, m, 100_000)
	v, err := m.View()
	if err != nil {
		b.Fatal(err)
	}
	defer v.Close()
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		if err := v.Scan(store.Range{}, func(store.KeyValue) bool { n++; return n < 1000 }); err != nil || n != 1000 {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkHistory(b *testing.B) {
	m := open(b)
	fill(b, m, 10_000)
	after := m.Position().Cursor
	after.Revision -= 100
	b.ReportAllocs()
	for b.Loop() {
		if batches, err := m.History(after, 1<<20); err != nil || len(batches) != 100 {
			b.Fatal(len(batches), err)
		}
	}
}

func BenchmarkCheckCommand(b *testing.B) {
	cmd := writes(b, benchPut(1))
	b.ReportAllocs()
	for b.Loop() {
		if err := fsm.CheckCommand(cmd); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	m := openIn(b, dir)
	fill(b, m, 100_000)
	size := len(stream(b, m))
	closeMachine(b, m)
	b.SetBytes(int64(size))
	for b.Loop() {
		m, err := fsm.Open(options(dir))
		if err != nil {
			b.Fatal(err)
		}
		closeMachine(b, m)
	}
}
