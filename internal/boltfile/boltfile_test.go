package boltfile_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/spire-raft/spire-raft/internal/boltfile"
	"github.com/spire-raft/spire-raft/store"
)

const (
	page    = 4096
	records = 1000
)

// writeFile makes a bbolt file with an inline and an empty bucket, branches,
// values over several pages, and free pages.
func writeFile(t *testing.T, noFreelistSync bool) (path string, data []byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "bolt.db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: page, NoFreelistSync: noFreelistSync, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	fill := func(tx *bbolt.Tx) error {
		b, err1 := tx.CreateBucketIfNotExists([]byte("flat"))
		inline, err2 := tx.CreateBucketIfNotExists([]byte("inline"))
		_, err3 := tx.CreateBucketIfNotExists([]byte("empty"))
		errs := []error{err1, err2, err3, inline.Put([]byte("k"), []byte("v"))}
		for i := range records {
			errs = append(errs, b.Put(fmt.Appendf(nil, "%06d", i), bytes.Repeat([]byte{1}, i%400)))
		}
		errs = append(errs, b.Put([]byte("big"), make([]byte, 5*page)))
		return errors.Join(errs...)
	}
	if err := errors.Join(db.Update(fill), db.Update(fill), db.Close()); err != nil {
		t.Fatal(err)
	}
	if data, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	used := len(bytes.TrimRight(data, "\x00"))
	return path, data[:(used+page-1)/page*page]
}

func TestCheck_SoundFilesPass(t *testing.T) {
	for _, noFreelistSync := range []bool{false, true} {
		path, _ := writeFile(t, noFreelistSync)
		got := map[string]int{}
		err := boltfile.Check(path, boltfile.Options{Bucket: func(name []byte) func(key, value []byte) {
			bucket := string(name)
			got[bucket] = 0
			return func(key, value []byte) {
				got[bucket]++
				if bucket == "inline" && (string(key) != "k" || string(value) != "v") {
					t.Errorf("%s has %q = %q", bucket, key, value)
				}
			}
		}})
		if want := map[string]int{"flat": records + 1, "inline": 1, "empty": 0}; err != nil || !maps.Equal(got, want) {
			t.Errorf("noFreelistSync %v: records %v, want %v, and %v", noFreelistSync, got, want, err)
		}
	}
}

func TestCheck_MissingFile(t *testing.T) {
	if err := boltfile.Check(filepath.Join(t.TempDir(), "missing"), boltfile.Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestCheck_EveryTruncationIsFound(t *testing.T) {
	path, data := writeFile(t, false)
	for size := len(data) - page; size > 0; size -= 777 {
		if err := os.Truncate(path, int64(size)); err != nil {
			t.Fatal(err)
		}
		if err := boltfile.Check(path, boltfile.Options{LoneMeta: true}); !errors.Is(err, store.ErrCorrupt) {
			t.Fatalf("%d of %d bytes: %v", size, len(data), err)
		}
	}
}

func TestCheck_OtherFiles(t *testing.T) {
	for _, data := range [][]byte{nil, {0}, []byte("SQLite format 3"), make([]byte, 3*page), bytes.Repeat([]byte{0xff}, 5*page)} {
		if !fails(t, data) {
			t.Errorf("%d bytes that are no bbolt file pass", len(data))
		}
	}
}

func TestCheck_OtherPageSize(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bolt.db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: 2 * page})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := boltfile.Check(path, boltfile.Options{}); !errors.Is(err, store.ErrCorrupt) {
		t.Error(err)
	}
}

func TestCheck_NestedBucket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bolt.db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: page})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte("outer"))
		if err == nil {
			_, err = b.CreateBucket([]byte("inner"))
		}
		return err
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if err := boltfile.Check(path, boltfile.Options{}); !errors.Is(err, store.ErrCorrupt) {
		t.Error(err)
	}
}

func TestCheck_DamagedMetaPage(t *testing.T) {
	for meta := range 2 {
		path, data := writeFile(t, true)
		data[meta*page+16+40] ^= 1
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := boltfile.Check(path, boltfile.Options{LoneMeta: true}); err != nil {
			t.Errorf("meta page %d, where one is enough: %v", meta, err)
		}
		if err := boltfile.Check(path, boltfile.Options{}); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("meta page %d: %v", meta, err)
		}
	}
}

// The head of a meta page is outside of its checksum.
func TestCheck_DamagedHeadOfAMetaPage(t *testing.T) {
	_, data := writeFile(t, true)
	for meta := range 2 {
		for off := range 16 {
			damaged := bytes.Clone(data)
			damaged[meta*page+off] ^= 4
			if !fails(t, damaged) {
				t.Errorf("damage to byte %d of meta page %d passes", off, meta)
			}
		}
	}
}

// What Check lets pass, bbolt must be able to open and read.
func TestCheck_WhatPassesIsSafeToOpen(t *testing.T) {
	path, data := writeFile(t, true)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	found := 0
	for range 100 {
		damaged := bytes.Clone(data)
		// Headers and elements are where structure is.
		off := rnd.IntN(len(data)/page)*page + rnd.IntN(256)
		damaged[off] ^= 1 << rnd.IntN(8)
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		err := boltfile.Check(path, boltfile.Options{})
		if errors.Is(err, store.ErrCorrupt) {
			found++
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoFreelistSync: true, NoSync: true})
		if err != nil {
			t.Fatalf("byte %d: bbolt can't open what passed: %v", off, err)
		}
		err = db.View(func(tx *bbolt.Tx) error {
			for err := range tx.Check() {
				t.Errorf("byte %d: bbolt finds what passed broken: %v", off, err)
			}
			return nil
		})
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if found == 0 {
		t.Error("no damage was found, so the test tests nothing")
	}
}

// Damage that a random flip seldom hits.
func TestCheck_Structure(t *testing.T) {
	order := binary.NativeEndian
	leafOf := func(data []byte) []byte { // a leaf of "flat", in use
		for off := len(data) - page; off > 0; off -= page {
			if order.Uint16(data[off+8:]) == 2 && order.Uint16(data[off+10:]) > 3 && order.Uint32(data[off+12:]) == 0 {
				probe := bytes.Clone(data)
				probe[off+8] = 0
				if fails(t, probe) {
					return data[off : off+page]
				}
			}
		}
		t.Fatal("no leaf")
		return nil
	}
	for name, damage := range map[string]func(leaf []byte){
		"fewer elements":         func(p []byte) { order.PutUint16(p[10:], order.Uint16(p[10:])-1) },
		"more elements":          func(p []byte) { order.PutUint16(p[10:], order.Uint16(p[10:])+1) },
		"elements without end":   func(p []byte) { order.PutUint16(p[10:], 0xffff) },
		"overflow to the end":    func(p []byte) { order.PutUint32(p[12:], 0xffffffff) },
		"overflow by one":        func(p []byte) { order.PutUint32(p[12:], 1) },
		"another page's id":      func(p []byte) { order.PutUint64(p, order.Uint64(p)^1) },
		"no elements":            func(p []byte) { order.PutUint16(p[10:], 0) },
		"kind of page":           func(p []byte) { order.PutUint16(p[8:], 1) },
		"kind of element":        func(p []byte) { order.PutUint32(p[16:], 4) },
		"a bucket that is none":  func(p []byte) { order.PutUint32(p[16:], 1) },
		"key far outside":        func(p []byte) { order.PutUint32(p[20:], 0xffffffff) },
		"key too long":           func(p []byte) { order.PutUint32(p[24:], 0xffffffff) },
		"value too long":         func(p []byte) { order.PutUint32(p[28:], 0xffffffff) },
		"value shorter":          func(p []byte) { order.PutUint32(p[28:], order.Uint32(p[28:])^1) },
		"first key out of range": func(p []byte) { p[16+16*int(order.Uint16(p[10:]))] = 0xff },
	} {
		t.Run(name, func(t *testing.T) {
			_, data := writeFile(t, true)
			damage(leafOf(data))
			if !fails(t, data) {
				t.Error("not found")
			}
		})
	}
}

func fails(t *testing.T, data []byte) bool {
	t.Helper()
	path := filepath.Join(t.TempDir(), "damaged.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	err := boltfile.Check(path, boltfile.Options{})
	if err != nil && !errors.Is(err, store.ErrCorrupt) {
		t.Fatal(err)
	}
	return err != nil
}

// FuzzCheck puts arbitrary pages behind valid meta pages.
func FuzzCheck(f *testing.F) {
	order := binary.NativeEndian
	leaf := make([]byte, 2*page)
	order.PutUint64(leaf[page:], 3)
	order.PutUint16(leaf[page+8:], 2)
	f.Add(leaf, uint64(3))
	f.Fuzz(func(t *testing.T, pages []byte, root uint64) {
		highWater := 2 + (len(pages)+page-1)/page
		data := make([]byte, highWater*page)
		copy(data[2*page:], pages)
		for txID := range uint64(2) {
			head := data[txID*page:]
			order.PutUint64(head, txID)
			order.PutUint16(head[8:], 4)
			m := head[16:]
			order.PutUint32(m, 0xED0CDAED)
			order.PutUint32(m[4:], 2)
			order.PutUint32(m[8:], page)
			order.PutUint64(m[16:], root)
			order.PutUint64(m[32:], ^uint64(0)) // no free list
			order.PutUint64(m[40:], uint64(highWater))
			order.PutUint64(m[48:], txID)
			h := fnv.New64a()
			h.Write(m[:56])
			order.PutUint64(m[56:], h.Sum64())
		}
		if fails(t, data) && root == 3 && bytes.Equal(pages, leaf) {
			t.Error("an empty tree was called damaged")
		}
	})
}
