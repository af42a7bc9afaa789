package logstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"github.com/spire-raft/spire-raft/internal/filelock"
	"github.com/spire-raft/spire-raft/raftstore/internal/logstore"
	"github.com/spire-raft/spire-raft/store"
)

const (
	entries = 400
	flips   = 150
)

// writeLog makes a file with entries 1 to entries and a term, and returns its
// bytes. Some entries were deleted and written anew, so there are free pages.
func writeLog(t *testing.T, path string) []byte {
	t.Helper()
	s, err := logstore.Open(logstore.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	for i := uint64(1); i <= entries; i += 50 {
		var logs []*raft.Log
		for j := i; j < i+50; j++ {
			logs = append(logs, entry(j))
		}
		if err := s.StoreLogs(logs); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.DeleteRange(300, entries), s.SetUint64([]byte("term"), 41)); err != nil {
		t.Fatal(err)
	}
	for i := uint64(300); i <= entries; i++ {
		if err := s.StoreLog(entry(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return readUsed(t, path)
}

// readUsed returns a file up to the end of its last page that is in use: what
// lies behind it is room to grow.
func readUsed(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	used := len(bytes.TrimRight(data, "\x00"))
	return data[:(used+page-1)/page*page]
}

// readLog opens the log and reads all of it. An error is fine; data that
// differs from what was written is not.
func readLog(path string) (wrong string, err error) {
	s, err := logstore.Open(logstore.Options{Path: path})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	term, err := s.GetUint64([]byte("term"))
	if err != nil {
		return "", err
	}
	if term != 41 {
		return fmt.Sprintf("term %d", term), nil
	}
	first, err1 := s.FirstIndex()
	last, err2 := s.LastIndex()
	if err := errors.Join(err1, err2); err != nil {
		return "", err
	}
	if first != 1 || last != entries {
		return fmt.Sprintf("entries %d to %d", first, last), nil
	}
	for i := first; i <= last; i++ {
		var l raft.Log
		if err := s.GetLog(i, &l); err != nil {
			return "", err
		}
		l.AppendedAt = entry(i).AppendedAt // not covered
		if !sameEntry(&l, entry(i)) {
			return fmt.Sprintf("entry %+v", l), nil
		}
	}
	return "", nil
}

func TestOpen_FlippedBitIsFoundOrHarmless(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	data := writeLog(t, path)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	found := 0
	for range flips {
		bit := rnd.IntN(8 * len(data))
		damaged := bytes.Clone(data)
		damaged[bit/8] ^= 1 << (bit % 8)
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		wrong, err := readLog(path)
		if wrong != "" {
			t.Errorf("bit %d of byte %d flipped: read %s", bit%8, bit/8, wrong)
		}
		if err != nil {
			found++
		}
	}
	if found == 0 {
		t.Error("no flip was found, so the test tests nothing")
	}
	t.Logf("%d of %d flips were found", found, flips)
}

func TestOpen_TruncatedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	data := writeLog(t, path)
	for _, size := range []int{1, 100, 4096, 8192, 12288, 40960, len(data) / 2} {
		if err := os.WriteFile(path, data[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := logstore.Open(logstore.Options{Path: path}); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%d bytes: got %v, %v", size, s, err)
		}
	}
}

func TestOpen_FileInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	s, err := logstore.Open(logstore.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := logstore.Open(logstore.Options{Path: path}); !errors.Is(err, filelock.ErrLocked) {
		t.Errorf("got %v", err)
	}
}

func TestOpenReadOnly_ReadsAndLeavesEveryByte(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	data := writeLog(t, path)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := logstore.OpenReadOnly(path)
	if err != nil {
		t.Fatal(err)
	}
	last, err := s.LastIndex()
	if err != nil || last != entries {
		t.Errorf("last index %d, %v", last, err)
	}
	if err := s.GetLog(last, new(raft.Log)); err != nil {
		t.Error(err)
	}
	if err := s.StoreLog(entry(last + 1)); err == nil {
		t.Error("wrote to it")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, data) {
		t.Errorf("the file has changed: %v", err)
	}
}

func TestOpenReadOnly_LogThatWasNotMade(t *testing.T) {
	dir := t.TempDir()
	for name, prepare := range map[string]func(path string) error{
		"missing": func(string) error { return nil },
		"empty":   func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"without buckets": func(path string) error {
			db, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: 4096})
			if err != nil {
				return err
			}
			return db.Close()
		},
	} {
		path := filepath.Join(dir, name)
		if err := prepare(path); err != nil {
			t.Fatal(err)
		}
		if s, err := logstore.OpenReadOnly(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: got %v, %v", name, s, err)
		}
	}
}

// A log that raft-boltdb wrote without this package has no checksums.
func TestOpen_LogWithoutChecksumsIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	b, err := raftboltdb.NewBoltStore(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.StoreLog(entry(1)), b.Close()); err != nil {
		t.Fatal(err)
	}
	s, err := logstore.Open(logstore.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.GetLog(1, new(raft.Log)); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("got %v", err)
	}
}

// TestGetLog_EveryFlippedBitOfARecord flips each in turn: the entry comes back
// as it was, since nobody needs the time of its arrival, or is damaged, which is
// said in the same words wherever the bit was.
func TestGetLog_EveryFlippedBitOfARecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	want := entry(1)
	s, err := logstore.Open(logstore.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.StoreLog(want), s.Close()); err != nil {
		t.Fatal(err)
	}
	record := editRecord(t, path, func([]byte) {})
	for bit := range 8 * len(record) {
		flip := func(b []byte) { b[bit/8] ^= 1 << (bit % 8) }
		editRecord(t, path, flip)
		s, err := logstore.OpenReadOnly(path)
		if err != nil {
			t.Fatal(err)
		}
		var got raft.Log
		err = s.GetLog(1, &got)
		switch {
		case err == nil && (got.Index != 1 || got.Term != want.Term || got.Type != want.Type || !bytes.Equal(got.Data, want.Data)):
			t.Errorf("bit %d: read %+v, want %+v", bit, got, want)
		case err != nil && (!errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), "entry 1 fails its checksum")):
			t.Errorf("bit %d: got %v", bit, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		editRecord(t, path, flip)
	}
}

// editRecord changes the only stored entry, and returns it.
func editRecord(t *testing.T, path string, change func([]byte)) []byte {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	var record []byte
	err = db.Update(func(tx *bbolt.Tx) error {
		key, value := tx.Bucket([]byte("logs")).Cursor().First()
		record = bytes.Clone(value)
		change(record)
		return tx.Bucket([]byte("logs")).Put(bytes.Clone(key), record)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return record
}

func BenchmarkStoreLogs(b *testing.B) {
	for _, batch := range []uint64{1, 64} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			s, err := logstore.Open(logstore.Options{Path: filepath.Join(b.TempDir(), "raft.db")})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			data, next := make([]byte, 512), uint64(1)
			for b.Loop() {
				logs := make([]*raft.Log, batch)
				for i := range logs {
					logs[i] = &raft.Log{Index: next, Term: 1, Data: data}
					next++
				}
				if err := s.StoreLogs(logs); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
