package boltfile

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"os"
	"slices"

	"github.com/spire-raft/spire-raft/store"
)

// PageBytes is the size of a page in all files, so that they can move between
// hosts. bbolt's default is the host's.
const PageBytes = 4096

// Options say what more a check does, and what it lets pass.
type Options struct {
	// LoneMeta lets a file pass that has one valid meta page instead of two.
	// bbolt uses the older one if the newer is damaged, since a power cut may
	// leave it half written. But a meta page fits into a disk's sector, which
	// is written whole or not at all, so damage is more likely decay, and then
	// the older one silently takes back a transaction that was durable. Only
	// the owner of data that can be written once more should set it.
	LoneMeta bool

	// Bucket, if set, is called with the name of each bucket. What it returns
	// is called with each key and value in it, unless it is nil. The keys come
	// in no particular order. The slices are valid until the call returns.
	Bucket func(name []byte) (record func(key, value []byte))
}

// Check reads the whole file at path, without mapping it, and verifies that
// bbolt can: it holds every page that its newest meta page counts, each page in
// use is used once and is not free, is of the right kind and identity, and is
// packed as bbolt packs it, with its keys in order and within the bounds that
// the pages above give it. Buckets don't nest. Values are for the caller to
// verify, as Options.Bucket is told them.
//
// What it can't find is a page whose last write was lost. The error wraps
// [store.ErrCorrupt] if the file is damaged, truncated or no bbolt file, and
// [io/fs.ErrNotExist] if it is missing. No process may be writing to it.
func Check(path string, opts Options) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() // was only read
	if err := check(f, opts); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func check(f *os.File, opts Options) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	newest, valid, err := readMeta(f, info.Size())
	switch have := uint64(info.Size()) / PageBytes; {
	case err != nil:
		return err
	case valid == 0:
		return corrupt("a file of %d bytes has no valid meta page", info.Size())
	case valid == 1 && !opts.LoneMeta:
		return corrupt("one of the two meta pages is damaged, and with it maybe the last transaction")
	case have < newest.pages:
		return corrupt("the file is truncated: it has %d of %d pages", have, newest.pages)
	}
	w := &walker{
		opts: opts,
		file: pageReader{file: f, pages: newest.pages},
		seen: make([]uint64, newest.pages/64+1),
	}
	if err := w.mark(0, 2); err != nil { // the meta pages
		return err
	}
	if err := w.readFreelist(newest.freelist); err != nil {
		return err
	}
	return w.walk(newest.root)
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", store.ErrCorrupt, fmt.Sprintf(format, args...))
}

// walker reads pages level by level and each level in the order of the file.
// Invariant: a page is added to a level only when it is marked, which happens
// once, so the walk ends whatever the file holds.
type walker struct {
	opts Options
	file pageReader
	seen []uint64 // bitmap of the pages that were reached or are free
	next []pageRef
}

// pageRef is a page that is yet to be read.
type pageRef struct {
	id     uint64
	within keyRange
	in     *bucket
}

// keyRange is min <= key < max. A nil min stands for no bound and for the root
// of a bucket; a nil max for no bound.
type keyRange struct{ min, max []byte }

// bucket is what a page belongs to. The bucket of buckets is nil.
type bucket struct {
	record func(key, value []byte)
}

// mark notes that n pages from id on are in use, or free. None may be twice.
func (w *walker) mark(id, n uint64) error {
	if n > w.file.pages || id > w.file.pages-n {
		return corrupt("page %d lies behind the end", id)
	}
	for ; n > 0; id, n = id+1, n-1 {
		if w.seen[id/64]&(1<<(id%64)) != 0 {
			return corrupt("page %d is used twice", id)
		}
		w.seen[id/64] |= 1 << (id % 64)
	}
	return nil
}

func (w *walker) add(ref pageRef) error {
	if err := w.mark(ref.id, 1); err != nil {
		return err
	}
	w.next = append(w.next, ref)
	return nil
}

func (w *walker) walk(root uint64) error {
	if err := w.add(pageRef{id: root}); err != nil {
		return err
	}
	for len(w.next) > 0 {
		level := w.next
		w.next = nil
		slices.SortFunc(level, func(a, b pageRef) int { return cmp.Compare(a.id, b.id) })
		for _, ref := range level {
			p, err := w.load(ref.id)
			if err != nil {
				return err
			}
			if err := w.readPage(p, ref.within, ref.in); err != nil {
				return err
			}
		}
	}
	return nil
}

// load reads a page that is marked, and marks and reads those that belong to it.
func (w *walker) load(id uint64) (p page, err error) {
	b, err := w.file.read(id, 1)
	if err != nil {
		return p, err
	}
	if p = parsePage(b); p.id != id {
		return p, corrupt("page %d says that it is page %d", id, p.id)
	}
	overflow := uint64(binary.NativeEndian.Uint32(b[offOverflow:]))
	if overflow == 0 {
		return p, nil
	}
	if err := w.mark(id+1, overflow); err != nil {
		return p, err
	}
	p.bytes, err = w.file.read(id, 1+overflow)
	return p, err
}

// readFreelist marks the free pages. A file need not have a list of them.
func (w *walker) readFreelist(id uint64) error {
	if id == noFreelist {
		return nil
	}
	ids, err := w.loadFreelist(id)
	if err != nil {
		return err
	}
	return w.markListed(ids)
}

// loadFreelist marks and reads the pages of the free list, and returns the ids
// in it as they lie there.
func (w *walker) loadFreelist(id uint64) (ids []byte, err error) {
	if err := w.mark(id, 1); err != nil {
		return nil, err
	}
	p, err := w.load(id)
	if err != nil {
		return nil, err
	}
	if p.kind != pageFreelist {
		return nil, corrupt("page %d is no free list", id)
	}
	ids, count := p.bytes[pageHeadBytes:], uint64(p.count)
	if count == freelistCountInBody {
		count, ids = binary.NativeEndian.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids)/8) {
		return nil, corrupt("the free list is longer than its page")
	}
	return ids[:8*count], nil
}

// markListed marks the pages of a free list.
func (w *walker) markListed(ids []byte) error {
	for ; len(ids) > 0; ids = ids[8:] {
		if err := w.mark(binary.NativeEndian.Uint64(ids), 1); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) readPage(p page, within keyRange, in *bucket) error {
	if p.kind != pageBranch && p.kind != pageLeaf {
		return corrupt("page %d is of kind %#x", p.id, p.kind)
	}
	if p.count == 0 && (p.kind == pageBranch || within.min != nil) {
		return corrupt("page %d is empty", p.id) // only a bucket's root may be
	}
	if p.kind == pageBranch {
		p.bytes = bytes.Clone(p.bytes) // the children's bounds are parts of it
	}
	var last []byte
	for e, err := range p.elements() {
		if err != nil {
			return err
		}
		if bytes.Compare(e.key, within.min) < 0 || within.max != nil && bytes.Compare(e.key, within.max) >= 0 ||
			last != nil && bytes.Compare(last, e.key) >= 0 {
			return corrupt("page %d has key %q out of order", p.id, e.key)
		}
		if p.kind == pageLeaf {
			err = w.readElement(e, in)
		} else {
			if last != nil {
				w.next[len(w.next)-1].within.max = e.key
			}
			err = w.add(pageRef{id: e.child, within: keyRange{min: e.key, max: within.max}, in: in})
		}
		if err != nil {
			return err
		}
		last = e.key
	}
	return nil
}

// readElement checks an element of a leaf: a bucket or a record.
func (w *walker) readElement(e element, in *bucket) error {
	if in == nil {
		return w.readBucket(e)
	}
	if e.flags != 0 {
		return corrupt("the record of key %q has flags %#x", e.key, e.flags)
	}
	if in.record != nil {
		in.record(e.key, e.value)
	}
	return nil
}

func (w *walker) readBucket(e element) error {
	if e.flags != elementIsBucket || len(e.value) < bucketHeadBytes {
		return corrupt("%q is no bucket", e.key)
	}
	in := &bucket{}
	if w.opts.Bucket != nil {
		in.record = w.opts.Bucket(e.key)
	}
	if root := binary.NativeEndian.Uint64(e.value); root != 0 {
		return w.add(pageRef{id: root, in: in})
	}
	inline := e.value[bucketHeadBytes:]
	if len(inline) < pageHeadBytes || parsePage(inline).kind != pageLeaf {
		return corrupt("the page in bucket %q is no leaf", e.key)
	}
	return w.readPage(parsePage(inline), keyRange{}, in)
}
