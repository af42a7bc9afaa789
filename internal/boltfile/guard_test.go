package boltfile_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/spire-raft/spire-raft/internal/boltfile"
	"github.com/spire-raft/spire-raft/store"
)

func TestGuard(t *testing.T) {
	failure := errors.New("failure")
	for _, c := range []struct {
		name string
		fn   func() error
		want error
	}{
		{"success", func() error { return nil }, nil},
		{"an error is passed on", func() error { return failure }, failure},
		{"a panic", func() error { panic("page 7: multiple references") }, store.ErrCorrupt},
		{"a read behind the end of a mapped file", func() error { readBehindEnd(t); return nil }, store.ErrCorrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := boltfile.Guard("read entry", c.fn)
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if errors.Is(err, store.ErrCorrupt) && !strings.Contains(err.Error(), "read entry") {
				t.Errorf("%v does not say what was done", err)
			}
		})
	}
}

// readBehindEnd does what bbolt does with a file that was truncated.
func readBehindEnd(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(1 << 16); err != nil {
		t.Fatal(err)
	}
	b, err := unix.Mmap(int(f.Fd()), 0, 1<<16, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(b)
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if b[0] == 1 {
		t.Error("there is data behind the end")
	}
}
