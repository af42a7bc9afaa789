package raftstore_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/spire-raft/spire-raft/fsm"
	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/raftstore/internal/identity"
	"github.com/spire-raft/spire-raft/raftstore/internal/sealedfile"
	"github.com/spire-raft/spire-raft/store"
)

// Cures that errors of directories end with.
const (
	restoreCure = "restore this server from the others"
	rejoinCure  = "remove this node from the cluster, delete the data directory and join again with a new node id"
)

// badDirs are directories of a node that was stopped, and what Open says.
var badDirs = map[string]struct {
	spoil    func(t *testing.T, dir string)
	want     error
	mentions []string
}{
	"that was not initialized": {
		func(t *testing.T, dir string) { must(t, os.RemoveAll(dir)) },
		raftstore.ErrNotInitialized, []string{"run Init first"},
	},
	"that has lost its identity": {
		func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, "identity.json"))) },
		raftstore.ErrForeignData, []string{"use an empty directory, or restore the identity file"},
	},
	"that others can read": {
		func(t *testing.T, dir string) { must(t, os.Chmod(dir, 0o755)) },
		raftstore.ErrPermissions, []string{"0755", "run chmod go-rwx"},
	},
	"of a node that has left": {
		func(t *testing.T, dir string) { must(t, os.WriteFile(filepath.Join(dir, "left"), nil, 0o600)) },
		raftstore.ErrRemoved, []string{"delete its data directory, and Init a new one with a new node id"},
	},
	"that was refused as a copy": {
		func(t *testing.T, dir string) { must(t, os.WriteFile(filepath.Join(dir, "copied"), nil, 0o600)) },
		raftstore.ErrCopied, []string{"if this is not the only process of the node, delete this data directory"},
	},

	"whose identity is of a newer format": {
		newerIdentity, raftstore.ErrNewerFormat, []string{"format 2", "use the version that wrote it, or a later one"},
	},
	"whose state is of a newer format": {
		newerState, fsm.ErrTooNew, []string{"format 2", "upgrade this node"},
	},

	"whose identity is truncated": {
		func(t *testing.T, dir string) { must(t, os.Truncate(filepath.Join(dir, "identity.json"), 30)) },
		store.ErrCorrupt, []string{"identity.json", "restore the file from a copy, or replace the node"},
	},
	"whose state is truncated": {
		func(t *testing.T, dir string) {
			truncate(t, filepath.Join(dir, "state.db"))
			must(t, os.WriteFile(filepath.Join(dir, "state.tmp-1"), []byte("half a snapshot"), 0o600))
		},
		store.ErrCorrupt, []string{"state.db", "truncated", restoreCure},
	},
	"whose log is truncated": {
		func(t *testing.T, dir string) { truncate(t, filepath.Join(dir, "raft.db")) },
		store.ErrCorrupt, []string{"raft.db", "truncated", rejoinCure},
	},
	"whose log is truncated and whose state was lost": {
		func(t *testing.T, dir string) {
			truncate(t, filepath.Join(dir, "raft.db"))
			must(t, os.Remove(filepath.Join(dir, "state.db")))
		},
		store.ErrCorrupt, []string{"raft.db", rejoinCure},
	},

	"whose identity has a flipped bit": {
		func(t *testing.T, dir string) { flip(t, filepath.Join(dir, "identity.json")) },
		store.ErrCorrupt, []string{"identity.json", "restore the file from a copy, or replace the node"},
	},
	"whose state has a flipped bit": {
		func(t *testing.T, dir string) { flip(t, filepath.Join(dir, "state.db")) },
		store.ErrCorrupt, []string{"bucket", "checksum", restoreCure},
	},
	"whose log has a flipped bit": { // in an entry that the state lacks
		func(t *testing.T, dir string) {
			flip(t, filepath.Join(dir, "raft.db"))
			must(t, os.Remove(filepath.Join(dir, "state.db")))
		},
		store.ErrCorrupt, []string{"raft.db", "fails its checksum", rejoinCure},
	},
	"whose last entry has a flipped bit": { // the state has it
		func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, "raft.db"), "logs", func(b *bbolt.Bucket) error {
				key, value := b.Cursor().Last()
				value = bytes.Clone(value)
				value[len(value)-1] ^= 1 // not in the time of its arrival, which has no checksum
				return b.Put(bytes.Clone(key), value)
			})
		},
		store.ErrCorrupt, []string{"raft.db", "fails its checksum", rejoinCure},
	},
	"whose term has a flipped bit": {
		func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, "raft.db"), "conf", func(b *bbolt.Bucket) error {
				return b.Put([]byte("CurrentTerm"), make([]byte, 12))
			})
		},
		store.ErrCorrupt, []string{"raft.db", "CurrentTerm", rejoinCure},
	},

	"whose life was lost": {
		func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, "life.json"))) },
		store.ErrCorrupt, []string{"life.json is lost", "put back the files that belong together", rejoinCure},
	},
	"whose life is truncated": {
		func(t *testing.T, dir string) { must(t, os.Truncate(filepath.Join(dir, "life.json"), 30)) },
		store.ErrCorrupt, []string{"life.json", rejoinCure},
	},
	"that has lost its data": {
		func(t *testing.T, dir string) {
			must(t, errors.Join(os.Remove(filepath.Join(dir, "raft.db")), os.Remove(filepath.Join(dir, "state.db"))))
		},
		nil, []string{"Join"},
	},
	"whose log was lost": {
		func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, "raft.db"))) },
		store.ErrCorrupt, []string{"raft.db is lost", rejoinCure},
	},
	"whose log was replaced": {
		func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, "raft.db"), "conf", func(b *bbolt.Bucket) error { return b.Delete([]byte("CurrentTerm")) })
		},
		store.ErrCorrupt, []string{"raft.db", "not the one of the state", rejoinCure},
	},
	"whose log lacks entries": {
		func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, "raft.db"), "logs", func(b *bbolt.Bucket) error { return b.Delete(entryKey(1)) })
			must(t, os.Remove(filepath.Join(dir, "state.db")))
		},
		store.ErrCorrupt, []string{"raft.db", "the log begins at index 2, but the state ends at 0", rejoinCure},
	},
	"whose log has a hole": {
		func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, "raft.db"), "logs", func(b *bbolt.Bucket) error { return b.Delete(entryKey(2)) })
			must(t, os.Remove(filepath.Join(dir, "state.db")))
		},
		store.ErrCorrupt, []string{"raft.db", "entry 2 is missing", rejoinCure},
	},
}

func TestOpen_RefusesDirectory(t *testing.T) {
	t.Parallel()
	for name, tc := range badDirs {
		t.Run(name, func(t *testing.T) {
			c, cfg := stopped(t)
			tc.spoil(t, cfg.Dir)
			c.openFails(cfg, tc.want, tc.mentions...)
			cfg.Bootstrap = true // which is no way around it
			c.openFails(cfg, tc.want, tc.mentions...)
		})
	}
}

// TestOpen_FindsItsLogAgain opens a node whose state was lost but whose log
// goes back to the beginning.
func TestOpen_FindsItsLogAgain(t *testing.T) {
	t.Parallel()
	c, cfg := stopped(t)
	must(t, os.Remove(filepath.Join(cfg.Dir, "state.db")))
	n := c.mustOpen(cfg)
	kvs, _, err := n.Get(c.ctx(), store.Linearizable(), store.Key([]byte("k")))
	if err != nil || len(kvs) != 1 {
		t.Errorf("%d pairs, %v", len(kvs), err)
	}
}

func TestOpen_RefusesStateOfAnotherCluster(t *testing.T) {
	t.Parallel()
	_, theirs := stopped(t)
	c := newCluster(t)
	cfg := c.config("node-1")
	dir := filepath.Join(c.dir, "elsewhere")
	if _, err := raftstore.Init(dir, "other", "node-1"); err != nil {
		t.Fatal(err)
	}
	must(t, os.Rename(filepath.Join(theirs.Dir, "state.db"), filepath.Join(dir, "state.db")))
	cfg.Dir, cfg.Credentials = dir, c.credentials("other", "node-1")
	c.openFails(cfg, fsm.ErrOtherCluster, `"other"`, clusterID, "put back this server's own data")
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newerIdentity makes the identity one of a format that is not known yet, and
// right in all else.
func newerIdentity(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, "identity.json")
	var doc map[string]json.RawMessage
	must(t, sealedfile.Read(path, &doc))
	doc["format"] = json.RawMessage("2")
	doc["region"] = json.RawMessage(`"somewhere"`)
	must(t, sealedfile.Write(path, doc))
	if identity.Format != 1 {
		t.Fatal("format 2 is not newer any more")
	}
}

// newerState is the same for the state. See docs/FORMATS.md.
func newerState(t *testing.T, dir string) {
	t.Helper()
	const metaBucket = 8
	key, body := []byte("format"), binary.BigEndian.AppendUint32(nil, fsm.FormatVersion+1)
	sum := crc32.Checksum(append(append([]byte{metaBucket}, key...), body...), crc32.MakeTable(crc32.Castagnoli))
	edit(t, filepath.Join(dir, "state.db"), "meta", func(b *bbolt.Bucket) error {
		return b.Put(key, append(binary.BigEndian.AppendUint32(nil, sum), body...))
	})
}

// edit changes a bucket of a database.
func edit(t *testing.T, path, bucket string, change func(*bbolt.Bucket) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	must(t, err)
	err = db.Update(func(tx *bbolt.Tx) error { return change(tx.Bucket([]byte(bucket))) })
	must(t, errors.Join(err, db.Close()))
}

func entryKey(index uint64) []byte { return binary.BigEndian.AppendUint64(nil, index) }

// truncate cuts a database file in its third page, behind what tells its size.
func truncate(t *testing.T, path string) {
	t.Helper()
	must(t, os.Truncate(path, 10_000))
}

// flip changes one bit in the middle of the longest run of bytes of a file that
// are not zero, which in a database is part of a value of stopped. It does so
// wherever they are: a database has free pages with what was there once.
func flip(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	best, run, end := 0, 0, 0
	for i, x := range b {
		if x == 0 {
			run = 0
			continue
		}
		if run++; run > best {
			best, end = run, i
		}
	}
	longest := bytes.Clone(b[end-best+1 : end+1])
	for at := bytes.Index(b, longest); at >= 0; at = bytes.Index(b, longest) {
		b[at+best/2] ^= 1
	}
	must(t, os.WriteFile(path, b, 0o600))
}
