package addressbook_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/spire-raft/spire-raft/raftstore/internal/addressbook"
	"github.com/spire-raft/spire-raft/raftstore/internal/sealedfile"
	"github.com/spire-raft/spire-raft/store"
)

const fileName = "addresses.json"

func open(t *testing.T, dir string) (*addressbook.Book, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	return addressbook.Open(dir, slog.New(slog.NewTextHandler(&log, nil))), &log
}

func TestBook_SurvivesReopening(t *testing.T) {
	dir := t.TempDir()
	b, log := open(t, dir)
	if err := errors.Join(b.Set("n1", "10.0.0.1:8081"), b.Set("n2", "b:1"), b.Set("n2", "b:2"), b.Set("n3", "c:1"), b.Set("n3", "")); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"n1": "10.0.0.1:8081", "n2": "b:2"}
	for _, b := range []*addressbook.Book{b, first(open(t, dir))} {
		if got := b.All(); !maps.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if address, ok := b.Get("n2"); address != "b:2" || !ok {
			t.Errorf("n2 is at %q, %v", address, ok)
		}
		if address, ok := b.Get("n3"); ok {
			t.Errorf("n3 is at %q", address)
		}
	}
	if log.Len() != 0 {
		t.Errorf("logged %s", log)
	}
}

func first(b *addressbook.Book, _ *bytes.Buffer) *addressbook.Book { return b }

// The file is durable: one that an older version wrote must be read.
func TestBook_GoldenFile(t *testing.T) {
	dir := t.TempDir()
	const golden = `{"format":1,"addresses":{"n1":"10.0.0.1:8081","n2":"b:2"}}` + "\ncrc32c ea93757d\n"
	if err := os.WriteFile(filepath.Join(dir, fileName), []byte(golden), 0o600); err != nil {
		t.Fatal(err)
	}
	b, log := open(t, dir)
	if want := map[string]string{"n1": "10.0.0.1:8081", "n2": "b:2"}; !maps.Equal(b.All(), want) || log.Len() != 0 {
		t.Errorf("got %v, logged %q", b.All(), log)
	}
}

func TestBook_KeepForgetsTheOthers(t *testing.T) {
	dir := t.TempDir()
	b, _ := open(t, dir)
	if err := errors.Join(b.Set("n1", "a:1"), b.Set("n2", "b:1"), b.Set("n3", "c:1")); err != nil {
		t.Fatal(err)
	}
	if err := b.Keep(func(id string) bool { return id != "n2" }); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"n1": "a:1", "n3": "c:1"}
	for _, b := range []*addressbook.Book{b, first(open(t, dir))} {
		if got := b.All(); !maps.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

func TestBook_AllIsACopy(t *testing.T) {
	b, _ := open(t, t.TempDir())
	if err := b.Set("n1", "a:1"); err != nil {
		t.Fatal(err)
	}
	b.All()["n1"] = "changed"
	if address, _ := b.Get("n1"); address != "a:1" {
		t.Errorf("n1 is at %q", address)
	}
}

func TestBook_SetOfTheSameDoesNotWrite(t *testing.T) {
	dir := t.TempDir()
	b, _ := open(t, dir)
	if err := b.Set("n1", "a:1"); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, fileName)); err != nil {
		t.Fatal(err)
	}
	if err := b.Set("n1", "a:1"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, fileName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file was written again (%v)", err)
	}
}

func TestBook_DamagedFileIsAWarning(t *testing.T) {
	for name, write := range map[string]func(path string) error{
		"garbage":        func(path string) error { return os.WriteFile(path, []byte("{}"), 0o600) },
		"empty":          func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"a directory":    func(path string) error { return os.Mkdir(path, 0o700) },
		"unknown format": func(path string) error { return sealedfile.Write(path, map[string]int{"format": 2}) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := write(filepath.Join(dir, fileName)); err != nil {
				t.Fatal(err)
			}
			b, log := open(t, dir)
			if len(b.All()) != 0 || !strings.Contains(log.String(), "level=WARN") {
				t.Errorf("got %v, logged %q", b.All(), log)
			}
		})
	}
}

func TestBook_Limits(t *testing.T) {
	dir := t.TempDir()
	full := map[string]string{}
	for i := range addressbook.NodesMax {
		full[fmt.Sprint("n", i)] = "a:1"
	}
	if err := sealedfile.Write(filepath.Join(dir, fileName), map[string]any{"format": 1, "addresses": full}); err != nil {
		t.Fatal(err)
	}
	b, _ := open(t, dir)
	long := strings.Repeat("x", addressbook.AddressBytesMax+1)
	for _, err := range []error{b.Set("", "a:1"), b.Set(long, "a:1"), b.Set("n1", long)} {
		if !errors.Is(err, store.ErrTooLarge) {
			t.Errorf("got %v", err)
		}
	}
	if err := b.Set("one-more", "a:1"); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("got %v", err)
	}
	if err := b.Set("n1", "b:1"); err != nil {
		t.Errorf("a known node can't change in a full book: %v", err)
	}
}

func TestBook_WriteErrorKeepsTheAddressInMemory(t *testing.T) {
	b, _ := open(t, filepath.Join(t.TempDir(), "missing"))
	if err := b.Set("n1", "a:1"); err == nil {
		t.Error("wrote into a missing directory")
	}
	if address, _ := b.Get("n1"); address != "a:1" {
		t.Errorf("n1 is at %q", address)
	}
}

func TestBook_ConcurrentUse(t *testing.T) {
	b, _ := open(t, t.TempDir())
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := b.Set(fmt.Sprint("n", i), "a:1"); err != nil {
				t.Error(err)
			}
			b.Get("n0")
			b.All()
		})
	}
	wg.Wait()
	if len(b.All()) != 8 {
		t.Errorf("got %v", b.All())
	}
}
