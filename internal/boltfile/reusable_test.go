package boltfile_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/spire-raft/spire-raft/internal/boltfile"
	"github.com/spire-raft/spire-raft/store"
)

// TestReusable_IsThere deletes at random, and then writes as much as is said to
// have room, as records of up to the size that was named: the file must not grow.
func TestReusable_IsThere(t *testing.T) {
	for _, noFreelistSync := range []bool{false, true} {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		rnd := rand.New(rand.NewPCG(seed, 0))
		path := filepath.Join(t.TempDir(), "bolt.db")
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{
			PageSize: page, NoFreelistSync: noFreelistSync, FreelistType: bbolt.FreelistMapType, NoSync: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		const largest = 10 * page
		put := func(tx *bbolt.Tx, i int) (int, error) {
			b, err := tx.CreateBucketIfNotExists([]byte("b"))
			if err != nil {
				return 0, err
			}
			n := rnd.IntN(largest - 8)
			return n, b.Put(fmt.Appendf(nil, "%08d", i), make([]byte, n))
		}
		update := func(fn func(tx *bbolt.Tx) error) {
			t.Helper()
			if err := db.Update(fn); err != nil {
				t.Fatal(err)
			}
		}
		next := 0
		for range 40 {
			update(func(tx *bbolt.Tx) (err error) {
				for range 20 {
					next++
					_, err1 := put(tx, next)
					err = errors.Join(err, err1)
				}
				return err
			})
		}
		update(func(tx *bbolt.Tx) (err error) {
			for i := range next * 3 / 4 {
				if rnd.IntN(20) > 0 {
					err = errors.Join(err, tx.Bucket([]byte("b")).Delete(fmt.Appendf(nil, "%08d", i)))
				}
			}
			return err
		})
		update(func(*bbolt.Tx) error { return nil })

		room, err := boltfile.Reusable(path, largest)
		if err != nil || room < 1<<20 {
			t.Fatalf("room for %d bytes, %v", room, err)
		}
		all, err := boltfile.Reusable(path, 1)
		if err != nil || all <= room {
			t.Errorf("room for %d bytes of small records, for %d of large ones; %v", all, room, err)
		}
		before := size(t, db)
		// A transaction writes a record, those beside it, and what leads there.
		for written := uint64(0); ; {
			cost := boltfile.RunBytesMax(largest)
			if written += cost; written > room {
				break
			}
			update(func(tx *bbolt.Tx) error {
				next++
				_, err := put(tx, next)
				return err
			})
		}
		if now := size(t, db); now > before {
			t.Errorf("free list in the file %v: it had %d bytes, of them %d reusable, and has %d", !noFreelistSync, before, room, now)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// size is the part of the file that was ever in use.
func size(t *testing.T, db *bbolt.DB) (n int64) {
	t.Helper()
	if err := db.View(func(tx *bbolt.Tx) error { n = tx.Size(); return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestReusable_Damage(t *testing.T) {
	for _, noFreelistSync := range []bool{false, true} {
		path, data := writeFile(t, noFreelistSync)
		for n := range 200 {
			if n > 2 {
				data[page*rand.IntN(len(data)/page)+rand.IntN(64)] ^= 1 << rand.IntN(8)
			}
			if err := os.WriteFile(path, data[:len(data)-page*(n&1)], 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := boltfile.Reusable(path, 100)
			if err != nil && !errors.Is(err, store.ErrCorrupt) || n == 0 && err != nil || n == 1 && err == nil {
				t.Fatalf("file %d: %v", n, err)
			}
		}
	}
}
