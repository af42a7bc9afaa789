package raftstore

import (
	"testing"

	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/raftstore/internal/disk"
	"github.com/spire-raft/spire-raft/raftstore/internal/logstore"
)

// memoryLog is a log in memory.
type memoryLog struct{ *raft.InmemStore }

func (memoryLog) Close() error { return nil }

// TestLogBounds_OfSmallDisks bounds the log by what is free on the disk.
func TestLogBounds_OfSmallDisks(t *testing.T) {
	// An entry counts 128 bytes besides its data.
	const reserve, entryData, log = 1600, 16_000 - 128, 160_000
	for name, c := range map[string]struct {
		free, logged uint64
		want         logBounds
	}{
		"a large disk":               {free: 1 << 40, want: logBounds{256 << 20, 64 << 20}},
		"a 16th of what is free":     {free: 320_000, want: logBounds{20_000, 20_000}},
		"and of what the log has":    {free: 320_000, logged: log, want: logBounds{30_000, 30_000}},
		"twice the reserve":          {free: 2 * reserve, want: logBounds{200, 200}},
		"less, and nothing is spare": {free: 2*reserve - 1, logged: log, want: logBounds{0, 100}},
		"no space at all":            {free: 0, want: logBounds{0, 100}},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := disk.Watch(disk.Config{ReserveBytes: reserve, Free: func(string) (uint64, error) { return c.free, nil }})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			n := &Node{disk: w, logs: logstore.New(memoryLog{raft.NewInmemStore()}, nil)}
			n.cfg.Disk.ReserveBytes = reserve
			n.cfg.Log = LogConfig{TrailingEntries: 10_000, TrailingBytes: 256 << 20, CompactBytes: 64 << 20}
			for i := uint64(1); n.logs.Bytes() < c.logged; i++ {
				if err := n.logs.StoreLog(&raft.Log{Index: i, Data: make([]byte, entryData)}); err != nil {
					t.Fatal(err)
				}
			}
			if b := n.logBounds(); b != c.want {
				t.Errorf("got %+v, want %+v", b, c.want)
			}
			if entries := n.trailing(n.logBounds()); entries != trailingMin {
				t.Errorf("%d entries of a short log are kept", entries)
			}
		})
	}
}
