package raftstore_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/store"
)

const (
	smallDiskBytes   = 112 << 20
	smallDiskReserve = 40 << 20
)

// onSmallDisk gives each node a disk of smallDiskBytes that nothing but its own
// files uses. bbolt makes either larger by 16 MiB at a time, and all of that
// counts, so that the reserve has to be larger than twice as much.
func onSmallDisk(cfg *raftstore.Config) {
	cfg.HistoryBytesMax = 1 << 20
	cfg.Disk = raftstore.DiskConfig{ReserveBytes: smallDiskReserve, Free: func(dir string) (uint64, error) {
		used := uint64(0)
		err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return nil //nolint:nilerr // a file that went away takes no space
			}
			if info, err := d.Info(); err == nil {
				used += uint64(info.Size())
			}
			return nil
		})
		return smallDiskBytes - min(used, smallDiskBytes), err
	}}
}

// onSmallDisks returns a node that is a cluster of its own, on a small disk.
func onSmallDisks(t *testing.T, adjust func(*raftstore.Config)) (*cluster, *raftstore.Node) {
	t.Helper()
	c := startClusterIn(t, memoryDir(t), 1, func(cfg *raftstore.Config) {
		onSmallDisk(cfg)
		if adjust != nil {
			adjust(cfg)
		}
	})
	return c, c.nodes[0]
}

// goesOn demands that writes of pairs that were refused pass within a moment.
func goesOn(c *cluster, n *raftstore.Node, pair store.Pair) {
	c.tb.Helper()
	c.eventually("writes go on", func() error {
		_, err := n.Put(c.ctx(), pair)
		return err
	})
}

// TestSpace_OneObjectIsOverwritten writes one large object again and again, as a
// server does with its bundle, half as much again as the disk holds in all: the log
// must not grow with what was written, only with what is stored.
func TestSpace_OneObjectIsOverwritten(t *testing.T) {
	t.Parallel()
	c, n := onSmallDisks(t, nil)
	pair := store.Pair{Key: []byte("bundle"), Value: value(100_000)}
	refused := 0
	for i := range 3 * smallDiskBytes / 2 / len(pair.Value) {
		_, err := n.Put(c.ctx(), pair)
		if errors.Is(err, store.ErrNoSpace) && i > 0 {
			refused++
			goesOn(c, n, pair)
		} else if err != nil {
			t.Fatalf("write %d: %v", i, err)
		}
	}
	info, err := os.Stat(filepath.Join(c.configs[0].Dir, "raft.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the log's file has %d MiB, %d writes had to wait", info.Size()>>20, refused)
}

// TestSpace_DeletesMakeRoom fills a disk and deletes what was written. Files
// don't shrink; what is free in them must count.
func TestSpace_DeletesMakeRoom(t *testing.T) {
	t.Parallel()
	c, n := onSmallDisks(t, func(cfg *raftstore.Config) {
		cfg.Log = raftstore.LogConfig{TrailingEntries: shortTrailing, CompactEntries: shortTrailing}
	})
	filled := fill(c, n, 100_000)
	if _, _, err := n.Delete(c.ctx(), store.Prefix([]byte("k"))); err != nil {
		t.Fatal(err)
	}
	// Each may have to wait until the log, or the state, has been written anew.
	for i := range filled / 2 {
		pair := object(i, 100_000)
		if _, err := n.Put(c.ctx(), pair); errors.Is(err, store.ErrNoSpace) {
			goesOn(c, n, pair)
		} else if err != nil {
			t.Fatalf("object %d of %d that had room at first: %v", i, filled, err)
		}
	}
}

func object(i, size int) store.Pair {
	return store.Pair{Key: fmt.Appendf(nil, "k%05d", i), Value: value(size)}
}

// fill puts objects until there is no space for more, and returns how many.
func fill(c *cluster, n *raftstore.Node, size int) int {
	c.tb.Helper()
	for i := 0; ; i++ {
		_, err := n.Put(c.ctx(), object(i, size))
		switch {
		case errors.Is(err, store.ErrNoSpace):
			return i
		case err != nil:
			c.tb.Fatalf("object %d: %v", i, err)
		case i*size > 2*smallDiskBytes:
			c.tb.Fatal("the disk does not fill")
		}
	}
}
