package sealedfile_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/spire-raft/spire-raft/raftstore/internal/sealedfile"
)

// Whoever can write to the directory must not have another file read in place of
// one of this program's, nor overwritten.
func TestPlantedFiles(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	if err := sealedfile.Write(victim, "precious"); err != nil {
		t.Fatal(err)
	}
	for name, plant := range map[string]func(path string) error{
		"symbolic link": func(path string) error { return os.Symlink(victim, path) },
		"pipe":          func(path string) error { return unix.Mkfifo(path, 0o600) },
	} {
		path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		if err := plant(path); err != nil {
			t.Fatal(err)
		}
		var got string
		if err := sealedfile.Read(path, &got); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: read %q, %v", name, got, err)
		}
		if err := sealedfile.Write(path, "new"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := sealedfile.Read(path, &got); err != nil || got != "new" {
			t.Errorf("%s: read %q, %v after it was replaced", name, got, err)
		}
	}
	var got string
	if err := sealedfile.Read(victim, &got); err != nil || got != "precious" {
		t.Errorf("the victim has %q, %v", got, err)
	}
}
