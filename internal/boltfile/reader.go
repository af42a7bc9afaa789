package boltfile

import (
	"io"
	"slices"
)

// pageReader reads pages in about ascending order.
type pageReader struct {
	file  io.ReaderAt
	pages uint64 // in the file
	first uint64 // page in buf
	buf   []byte
}

const pagesAhead = 64

// read returns n pages, which exist, from id on. They are valid until the next
// read.
func (r *pageReader) read(id, n uint64) ([]byte, error) {
	if have := uint64(len(r.buf) / PageBytes); id < r.first || id+n > r.first+have {
		get := min(max(n, pagesAhead), r.pages-id)
		r.buf = slices.Grow(r.buf[:0], int(get*PageBytes))[:get*PageBytes]
		r.first = id
		if _, err := r.file.ReadAt(r.buf, int64(id*PageBytes)); err != nil {
			r.buf = r.buf[:0]
			return nil, err
		}
	}
	at := (id - r.first) * PageBytes
	return r.buf[at : at+n*PageBytes], nil
}
