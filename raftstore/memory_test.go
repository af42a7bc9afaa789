package raftstore_test

import (
	"os"
	"testing"

	"github.com/spire-raft/spire-raft/raftstore/internal/disk"
)

// memoryBytesMin is what has to be free in memory for the data of tests to go
// there: several times what the largest of them writes.
const memoryBytesMin = 1 << 30

// dataDir returns a directory for the data of nodes. That of tests is in memory,
// where it can be: they lose no page of the system's cache, so that a disk would
// only cost time, much of it while others wait for the same one. Benchmarks
// measure the disk.
func dataDir(tb testing.TB) string {
	if _, measures := tb.(*testing.B); measures {
		return tb.TempDir()
	}
	return memoryDir(tb)
}

// memoryDir returns a directory in memory where the system has such and there is
// room, else one on disk.
func memoryDir(tb testing.TB) string {
	const memory = "/dev/shm"
	if free, err := disk.Free(memory); err != nil || free < memoryBytesMin {
		return tb.TempDir()
	}
	dir, err := os.MkdirTemp(memory, "raftstore-test-")
	if err != nil {
		return tb.TempDir()
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	return dir
}
