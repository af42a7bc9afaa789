// Package boltfile checks bbolt files before bbolt maps them into memory.
package boltfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"

	"github.com/spire-raft/spire-raft/store"
)

// Layout of a bbolt meta page, in the byte order of the host: a page header,
// then the fields below, then an FNV-1a of them. The first two pages of a file
// are meta pages, and the valid one with the higher transaction id counts.
const (
	headerBytes = 16
	metaBytes   = 64

	magic   = 0xED0CDAED
	version = 2

	offMagic     = 0
	offVersion   = 4
	offPageSize  = 8
	offRoot      = 16
	offHighWater = 40
	offTxID      = 48
	offChecksum  = 56

	pageBytesMin = 1 << 10
	pageBytesMax = 1 << 24
)

// CheckSize verifies that the file at path holds every page that its newest
// meta page counts. Opening one that doesn't, because it was truncated, makes
// bbolt read behind the end of a mapping, which the kernel answers with SIGBUS
// and Go with the end of the process.
//
// A missing or empty file passes: bbolt makes a new one. The error wraps
// [store.ErrCorrupt] if the file is truncated or is no bbolt file.
func CheckSize(path string) error {
	f, _, err := openMeta(path)
	if err != nil || f == nil {
		return err
	}
	return f.Close()
}

// openMeta opens the file and returns it with its newest meta page, after the
// checks of CheckSize. The file is nil where there is nothing to check.
func openMeta(path string) (_ *os.File, _ meta, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, meta{}, nil
	}
	if err != nil {
		return nil, meta{}, err
	}
	keep := false
	defer func() {
		if !keep {
			err = errors.Join(err, f.Close())
		}
	}()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return nil, meta{}, err
	}
	newest, err := newestMeta(f)
	if err != nil {
		return nil, meta{}, err
	}
	if newest.pageSize == 0 {
		return nil, meta{}, fmt.Errorf("%s has no valid bbolt meta page: %w", path, store.ErrCorrupt)
	}
	if pages := uint64(info.Size()) / uint64(newest.pageSize); pages < newest.highWater {
		return nil, meta{}, fmt.Errorf("%s is truncated, it has %d pages of %d: %w", path, pages, newest.highWater, store.ErrCorrupt)
	}
	keep = true
	return f, newest, nil
}

type meta struct {
	pageSize  uint32 // 0 in a meta page that isn't valid
	root      uint64
	highWater uint64
	txID      uint64
	alone     bool // the other meta page isn't valid
}

// newestMeta returns the meta page that bbolt would use, or the zero meta.
func newestMeta(f io.ReaderAt) (meta, error) {
	first, err := readMeta(f, 0)
	if err != nil {
		return meta{}, err
	}
	if first.pageSize != 0 {
		second, err := readMeta(f, int64(first.pageSize))
		first.alone = second.pageSize == 0
		if err != nil || first.alone || second.txID < first.txID {
			return first, err
		}
		return second, nil
	}
	// The page size is unknown, so the second page may be at any power of two.
	for off := int64(pageBytesMin); off <= pageBytesMax; off *= 2 {
		second, err := readMeta(f, off)
		second.alone = true
		if err != nil || second.pageSize != 0 {
			return second, err
		}
	}
	return meta{}, nil
}

// readMeta decodes the meta page at off. One that is cut off or damaged gives
// the zero meta.
func readMeta(f io.ReaderAt, off int64) (meta, error) {
	var page [headerBytes + metaBytes]byte
	_, err := f.ReadAt(page[:], off)
	if errors.Is(err, io.EOF) {
		return meta{}, nil
	}
	if err != nil {
		return meta{}, err
	}
	b, order := page[headerBytes:], binary.NativeEndian
	h := fnv.New64a()
	_, _ = h.Write(b[:offChecksum]) // never fails
	pageSize := order.Uint32(b[offPageSize:])
	if order.Uint32(b[offMagic:]) != magic || order.Uint32(b[offVersion:]) != version ||
		order.Uint64(b[offChecksum:]) != h.Sum64() || pageSize < pageBytesMin || pageSize > pageBytesMax ||
		order.Uint64(b[offHighWater:]) < 2 {
		return meta{}, nil
	}
	return meta{
		pageSize:  pageSize,
		root:      order.Uint64(b[offRoot:]),
		highWater: order.Uint64(b[offHighWater:]),
		txID:      order.Uint64(b[offTxID:]),
	}, nil
}
