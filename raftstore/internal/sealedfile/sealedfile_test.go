package sealedfile_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spire-raft/spire-raft/raftstore/internal/sealedfile"
	"github.com/spire-raft/spire-raft/store"
)

type doc struct{ Text string }

func TestWriteRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, text := range []string{"first", "", "with\nnewline", strings.Repeat("x", 1000)} {
		if err := sealedfile.Write(path, doc{text}); err != nil {
			t.Fatal(err)
		}
		var got doc
		if err := sealedfile.Read(path, &got); err != nil || got.Text != text {
			t.Errorf("read %q, %v, want %q", got.Text, err, text)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("files left behind: %v, %v", entries, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestRead_Missing(t *testing.T) {
	err := sealedfile.Read(filepath.Join(t.TempDir(), "f"), new(doc))
	if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, store.ErrCorrupt) {
		t.Error(err)
	}
}

// The layout is durable: files written by an older version must be read.
func TestRead_GoldenFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	const golden = `{"Text":"prod"}` + "\n" + "crc32c 622d7ac1\n"
	if err := os.WriteFile(path, []byte(golden), 0o600); err != nil {
		t.Fatal(err)
	}
	var got doc
	if err := sealedfile.Read(path, &got); err != nil || got.Text != "prod" {
		t.Errorf("read %q, %v", got.Text, err)
	}
	if err := sealedfile.Write(path, got); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != golden {
		t.Errorf("wrote %q, %v, want %q", data, err, golden)
	}
}

func TestRead_EveryFlippedBitAndEveryTruncationIsFound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := sealedfile.Write(path, doc{"prod"}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	try := func(what string, i int, damaged []byte) {
		t.Helper()
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := sealedfile.Read(path, new(doc)); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%s %d: %v", what, i, err)
		}
	}
	for bit := range 8 * len(data) {
		damaged := bytes.Clone(data)
		damaged[bit/8] ^= 1 << (bit % 8)
		try("bit", bit, damaged)
	}
	for n := range data {
		try("length", n, data[:n])
	}
	try("appended", 0, append(bytes.Clone(data), '\n'))
	try("too long", 0, make([]byte, sealedfile.BytesMax+1))
}

func TestRead_ChecksumOfSomethingElse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := sealedfile.Write(path, []int{1}); err != nil {
		t.Fatal(err)
	}
	if err := sealedfile.Read(path, new(doc)); !errors.Is(err, store.ErrCorrupt) {
		t.Error(err)
	}
}

func TestWrite_Failures(t *testing.T) {
	dir := t.TempDir()
	if err := sealedfile.Write(filepath.Join(dir, "missing", "f"), doc{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing directory: %v", err)
	}
	if err := sealedfile.Write(filepath.Join(dir, "big"), doc{strings.Repeat("x", sealedfile.BytesMax)}); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	target := filepath.Join(dir, "directory")
	if err := os.MkdirAll(filepath.Join(target, "in use"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := sealedfile.Write(target, doc{}); err == nil {
		t.Error("a directory was replaced")
	}
	left, err := filepath.Glob(filepath.Join(dir, sealedfile.TempPattern))
	if err != nil || len(left) != 0 {
		t.Errorf("files left behind: %v, %v", left, err)
	}
}
