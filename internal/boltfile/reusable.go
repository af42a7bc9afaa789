package boltfile

import (
	"encoding/binary"
	"os"
)

// unsplitRecords is how many records bbolt may leave on one page, and on those
// that follow and belong to it, however large they are.
const unsplitRecords = 4

// RunBytesMax is how many bytes in one piece bbolt may need for records of which
// none has more than recordBytes bytes, key and value: it leaves a few on a page
// whatever their size, and more of them where they fit.
func RunBytesMax(recordBytes uint64) uint64 {
	bytes := pageHeadBytes + PageBytes + unsplitRecords*(elementBytes+recordBytes)
	return (bytes + PageBytes - 1) / PageBytes * PageBytes
}

// Reusable returns how many bytes of the free pages of the file at path are sure
// to be written to before the file grows, where no record has more than
// recordBytes bytes, key and value.
//
// bbolt writes a page, with those that follow and belong to it, to one run of
// free pages, of at most [RunBytesMax], and takes the first part of any that has
// room. So of each run one page less than that may be left over, and the rest
// can be counted on: as long as there is more than that in all, one has room.
//
// A free list has a share of its own, which is taken off. Without one in the file,
// the pages in use are found from page to page; of those with records only the
// heads are read. Nobody may be writing.
func Reusable(path string, recordBytes uint64) (bytes uint64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close() // was only read
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	newest, valid, err := readMeta(f, info.Size())
	switch have := uint64(info.Size()) / PageBytes; {
	case err != nil:
		return 0, err
	case valid == 0 || have < newest.pages:
		return 0, corrupt("%s has no valid meta page or is truncated", path)
	}
	w := &walker{file: pageReader{file: f, pages: newest.pages}}
	needed := RunBytesMax(recordBytes) / PageBytes
	if newest.freelist == noFreelist {
		err = w.markUsed(newest.root)
		return w.count(false, needed) * PageBytes, err
	}
	w.seen = w.bitmap()
	ids, err := w.loadFreelist(newest.freelist)
	if err != nil {
		return 0, err
	}
	w.seen = w.bitmap() // of the listed pages alone
	if err := w.markListed(ids); err != nil {
		return 0, err
	}
	// Each transaction writes the list anew, and the place of the last one is
	// free only after the next.
	own := needed + 3*(1+uint64(len(ids))/PageBytes)
	pages := w.count(true, needed)
	return (pages - min(pages, own)) * PageBytes, nil
}

// bitmap has a bit for each page.
func (w *walker) bitmap() []uint64 { return make([]uint64, w.file.pages/64+1) }

// count adds up, of each run of pages that are marked, or not marked, what there
// is from its page number needed on.
func (w *walker) count(marked bool, needed uint64) (pages uint64) {
	run := uint64(0)
	for id := range w.file.pages {
		if w.seen[id/64]&(1<<(id%64)) != 0 != marked {
			run = 0
		} else if run++; run >= needed {
			pages++
		}
	}
	return pages
}

// usedPage is a page that is in use.
type usedPage struct {
	id      uint64
	records bool // it is in a bucket, and so are those below it
}

// markUsed marks the pages that can be reached, and the meta pages. It reads as
// little as it can: no records.
func (w *walker) markUsed(root uint64) error {
	w.seen = w.bitmap()
	if err := w.mark(0, 2); err != nil {
		return err
	}
	for next := []usedPage{{id: root}}; len(next) > 0; {
		at := next[len(next)-1]
		next = next[:len(next)-1]
		if err := w.mark(at.id, 1); err != nil {
			return err
		}
		below, err := w.below(at)
		if err != nil {
			return err
		}
		next = append(next, below...)
	}
	return nil
}

// below marks the pages that belong to a page, and returns those below it.
func (w *walker) below(at usedPage) (pages []usedPage, err error) {
	head := make([]byte, pageHeadBytes)
	if _, err := w.file.file.ReadAt(head, int64(at.id*PageBytes)); err != nil {
		return nil, err
	}
	p := parsePage(head)
	if at.records && p.kind == pageLeaf {
		return nil, w.mark(at.id+1, uint64(binary.NativeEndian.Uint32(head[offOverflow:])))
	}
	if p, err = w.load(at.id); err != nil {
		return nil, err
	}
	for e, err := range p.elements() {
		switch {
		case err != nil:
			return nil, err
		case p.kind == pageBranch:
			pages = append(pages, usedPage{e.child, at.records})
		case e.flags == elementIsBucket && len(e.value) >= bucketHeadBytes:
			if root := binary.NativeEndian.Uint64(e.value); root != 0 {
				pages = append(pages, usedPage{root, true})
			}
		}
	}
	return pages, nil
}
