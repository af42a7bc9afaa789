package boltfile

import (
	"encoding/binary"
	"hash/fnv"
	"io"
)

// The first two pages of a file are meta pages: a page head, then the fields
// below in the byte order of the host, the last of which is an FNV-1a of the
// others. The valid one with the higher transaction id counts.
const (
	metaBytes = 64

	metaMagic   = 0xED0CDAED
	metaVersion = 2

	offMagic     = 0
	offVersion   = 4
	offPageBytes = 8
	offRoot      = 16
	offFreelist  = 32
	offPages     = 40
	offTxID      = 48
	offChecksum  = 56

	// noFreelist stands for the page of a free list that is not in the file.
	noFreelist = ^uint64(0)
)

type meta struct {
	root     uint64
	freelist uint64
	pages    uint64 // all that are in use have lower ids
	txID     uint64
}

// readMeta returns the newest of the meta pages that are valid, and how many
// are.
func readMeta(f io.ReaderAt, size int64) (newest meta, valid int, err error) {
	for i := range int64(2) {
		if size < (i+1)*PageBytes {
			break
		}
		head := make([]byte, pageHeadBytes+metaBytes)
		if _, err := f.ReadAt(head, i*PageBytes); err != nil {
			return meta{}, 0, err
		}
		b := head[pageHeadBytes:]
		order, sum := binary.NativeEndian, fnv.New64a()
		_, _ = sum.Write(b[:offChecksum]) // never fails
		if order.Uint32(b[offMagic:]) != metaMagic || order.Uint32(b[offVersion:]) != metaVersion ||
			order.Uint64(b[offChecksum:]) != sum.Sum64() {
			continue
		}
		// The checksum leaves the head out. bbolt uses such a page, and trips over
		// it later.
		if p := parsePage(head); p.id != uint64(i) || p.kind != pageMeta || p.count != 0 || order.Uint32(head[offOverflow:]) != 0 {
			return meta{}, 0, corrupt("the head of meta page %d is damaged", i)
		}
		if n := order.Uint32(b[offPageBytes:]); n != PageBytes {
			return meta{}, 0, corrupt("the pages have %d bytes, not %d", n, PageBytes)
		}
		m := meta{
			root:     order.Uint64(b[offRoot:]),
			freelist: order.Uint64(b[offFreelist:]),
			pages:    order.Uint64(b[offPages:]),
			txID:     order.Uint64(b[offTxID:]),
		}
		if valid++; valid == 1 || m.txID > newest.txID {
			newest = m
		}
	}
	return newest, valid, nil
}
