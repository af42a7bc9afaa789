package logstore_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"

	"github.com/spire-raft/spire-raft/raftstore/internal/logstore"
)

var update = flag.Bool("update", false, "write the golden file of a format that has none yet; existing ones are never written over")

// goldenVersions are the formats that raft.db has had. A change adds one here,
// and its file by -update. What is there must be read for ever.
var goldenVersions = []int{1, 2}

func goldenName(version int) string {
	return filepath.Join("testdata", fmt.Sprintf("raft-v%d.db.gz", version))
}

// goldenLogs have every field set, and each left empty.
func goldenLogs() []*raft.Log {
	at := time.Unix(1_700_000_000, 123_456_789).UTC()
	return []*raft.Log{
		{Index: 7, Term: 2, Type: raft.LogNoop, AppendedAt: at},
		{Index: 8, Term: 2, Type: raft.LogCommand, Data: []byte("data"), Extensions: []byte("extensions"), AppendedAt: at},
	}
}

// goldenValues are raft's, under the keys that raft gives them.
var goldenValues = []struct {
	key   string
	value []byte
}{
	{"CurrentTerm", []byte{0, 0, 0, 0, 0, 0, 0, 2}},
	{"LastVoteTerm", []byte{0, 0, 0, 0, 0, 0, 0, 2}},
	{"LastVoteCand", []byte("node-1")},
}

func TestGolden(t *testing.T) {
	fresh := filepath.Join(t.TempDir(), "fresh.db")
	writeGoldenLog(t, fresh)
	newest := goldenVersions[len(goldenVersions)-1]
	if *update {
		saveGolden(t, fresh, goldenName(newest))
	}
	for _, version := range goldenVersions {
		t.Run(fmt.Sprintf("raft.db v%d", version), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "raft.db")
			if err := os.WriteFile(path, readGolden(t, goldenName(version)), 0o600); err != nil {
				t.Fatal(err)
			}
			if got, want := records(t, path), records(t, fresh); version == newest && got != want {
				t.Errorf("the records are\n%swhat is written now is\n%s", got, want)
			}
			checkGoldenLog(t, path)
		})
	}
}

func writeGoldenLog(t *testing.T, path string) {
	t.Helper()
	s := openLog(t, path)
	s.MarkCommitted(6)
	if err := s.StoreLogs(goldenLogs()); err != nil {
		t.Fatal(err)
	}
	for _, v := range goldenValues {
		if err := s.Set([]byte(v.key), v.value); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func checkGoldenLog(t *testing.T, path string) {
	t.Helper()
	s := openLog(t, path)
	defer s.Close()
	for _, want := range goldenLogs() {
		if got := mustGet(t, s, want.Index); !sameEntry(got, want) {
			t.Errorf("entry %d is %+v, want %+v", want.Index, got, want)
		}
	}
	for _, v := range goldenValues {
		if got, err := s.Get([]byte(v.key)); err != nil || !bytes.Equal(got, v.value) {
			t.Errorf("value of %s is %x, %v, want %x", v.key, got, err, v.value)
		}
	}
	if err := s.StoreLog(entry(9)); err != nil {
		t.Errorf("the next entry: %v", err)
	}
}

func openLog(t *testing.T, path string) *logstore.Store {
	t.Helper()
	s, err := logstore.Open(logstore.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// records are the bytes of everything in a file, as bbolt has it.
func records(t *testing.T, path string) string {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var out bytes.Buffer
	err = db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			return b.ForEach(func(key, value []byte) error {
				_, err := fmt.Fprintf(&out, "%s %q %x\n", name, key, value)
				return err
			})
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func readGolden(t *testing.T, name string) []byte {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// saveGolden packs the file at path, unless there is a golden one.
func saveGolden(t *testing.T, path, name string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		t.Logf("%s exists and stays as it is", name)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	w := gzip.NewWriter(f)
	_, err = w.Write(readUsed(t, path))
	if err := errors.Join(err, w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
}
