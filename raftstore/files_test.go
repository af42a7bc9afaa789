package raftstore_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/spire-raft/spire-raft/raftstore"
)

// TestFiles_AreTheOwnersAlone whatever the process's umask allows, and also what
// is on the way to a name.
func TestFiles_AreTheOwnersAlone(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	c := startClusterIn(t, memoryDir(t), 2, nil)
	leaver := c.nodes[1]
	if err := leaver.Leave(c.ctx()); err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, cfg := range c.configs {
		err := filepath.WalkDir(cfg.Dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			if mode := info.Mode().Perm(); mode&0o077 != 0 {
				t.Errorf("%s has mode %04o", path, mode)
			}
			found++
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if found < 10 {
		t.Errorf("only %d files were found", found)
	}
}

// TestLeft_PlantedLink: a link of the mark's name that leads nowhere is a mark,
// and nothing is made where it leads.
func TestLeft_PlantedLink(t *testing.T) {
	c := newCluster(t)
	cfg := c.config("node-1")
	cfg.Bootstrap = true
	target := filepath.Join(t.TempDir(), "target")
	if err := os.Symlink(target, filepath.Join(cfg.Dir, "left")); err != nil {
		t.Fatal(err)
	}
	n, err := raftstore.Open(c.ctx(), cfg)
	if !errors.Is(err, raftstore.ErrRemoved) {
		t.Errorf("got %v", err)
	}
	if err == nil {
		n.Close()
	}
	if _, err := os.Stat(target); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was made: %v", err)
	}
}
