package fsm

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"slices"

	"github.com/spire-raft/spire-raft/store"
)

// The layout of a bbolt file, as far as it must be known to read one that may
// be damaged. bbolt itself maps the file and follows what it finds: a truncated
// file kills the process, a page that points to one above it never ends, and an
// element that was lost from a page is missed by nobody.
const (
	pageHeadBytes   = 16
	elementBytes    = 16 // of branch and leaf pages alike
	bucketHeadBytes = 16

	pageBranch   = 0x01
	pageLeaf     = 0x02
	pageFreelist = 0x10

	elementIsBucket = 0x01

	metaBytes   = 64 // behind the page head; the last 8 are the checksum
	metaMagic   = 0xED0CDAED
	metaVersion = 2

	freelistCountInBody = 0xffff // as the page's count
)

// imageMeta is the newest valid meta page.
type imageMeta struct {
	root     uint64
	freelist uint64
	pages    uint64 // all that are in use have lower ids
	txid     uint64
}

// imageCounts tells what an image holds.
type imageCounts struct {
	records [bucketCount]uint64
}

// imageCheck walks the pages of a file, level by level and each level in the
// order of the file.
type imageCheck struct {
	file   pageReader
	meta   imageMeta
	seen   []uint64 // bitmap of the pages that were reached or are free
	next   []pageRef
	counts imageCounts

	// recordErr is the first error in a record. The walk goes on, since the
	// format that the records are in may be a later one.
	recordErr error
}

type pageRef struct {
	id     uint64
	bucket bucketID
}

// bucketRoot stands for the bucket of buckets.
const bucketRoot = bucketCount

// checkImage verifies a database file without mapping it: its size, that every
// page is in one place and is laid out as bbolt does, that keys ascend within
// each page, and every record. Where only records are wrong it returns the
// counts together with the error.
func checkImage(path string) (*imageCounts, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // was only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	meta, err := readMeta(f, info.Size())
	if err != nil {
		return nil, err
	}
	if have := uint64(info.Size()) / pageBytes; have < meta.pages {
		return nil, damaged("the file is truncated: it has %d of %d pages", have, meta.pages)
	}
	c := &imageCheck{
		file: pageReader{file: f, pages: meta.pages},
		meta: meta,
		seen: make([]uint64, meta.pages/64+1),
		next: []pageRef{{meta.root, bucketRoot}},
	}
	if err := errors.Join(c.mark(0, 2), c.mark(meta.root, 1), c.readFreelist()); err != nil {
		return nil, err
	}
	for len(c.next) > 0 {
		level := c.next
		c.next = nil
		slices.SortFunc(level, func(a, b pageRef) int { return cmp.Compare(a.id, b.id) })
		for _, ref := range level {
			if err := c.readPage(ref); err != nil {
				return nil, err
			}
		}
	}
	return &c.counts, c.recordErr
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s; restore this server from the others", store.ErrCorrupt, fmt.Sprintf(format, args...))
}

// readMeta returns the newer valid one of the two meta pages.
func readMeta(f io.ReaderAt, size int64) (newest imageMeta, err error) {
	found := false
	for i := range int64(2) {
		buf := make([]byte, pageHeadBytes+metaBytes)
		if size < (i+1)*pageBytes {
			break
		}
		if _, err := f.ReadAt(buf, i*pageBytes); err != nil {
			return newest, err
		}
		b := buf[pageHeadBytes:]
		u32, u64 := binary.NativeEndian.Uint32, binary.NativeEndian.Uint64
		sum := fnv.New64a()
		sum.Write(b[:metaBytes-8])
		if u32(b) != metaMagic || u32(b[4:]) != metaVersion || u64(b[56:]) != sum.Sum64() {
			continue
		}
		if n := u32(b[8:]); n != pageBytes {
			return newest, damaged("the pages have %d bytes, not %d", n, pageBytes)
		}
		m := imageMeta{root: u64(b[16:]), freelist: u64(b[32:]), pages: u64(b[40:]), txid: u64(b[48:])}
		if !found || m.txid > newest.txid {
			found, newest = true, m
		}
	}
	if !found {
		return newest, damaged("a file of %d bytes has no valid meta page", size)
	}
	return newest, nil
}

// mark notes that n pages from id on are in use, or free. None may be twice.
func (c *imageCheck) mark(id, n uint64) error {
	if n > c.meta.pages || id > c.meta.pages-n {
		return damaged("page %d lies behind the end of the data", id)
	}
	for ; n > 0; id, n = id+1, n-1 {
		if c.seen[id/64]&(1<<(id%64)) != 0 {
			return damaged("page %d is used twice", id)
		}
		c.seen[id/64] |= 1 << (id % 64)
	}
	return nil
}

// page is a page with the ones that it overflows into.
type page struct {
	id    uint64
	flags uint16
	count int
	bytes []byte // from the head on
}

func (c *imageCheck) load(id uint64) (p page, err error) {
	head, err := c.file.read(id, 1)
	if err != nil {
		return p, err
	}
	overflow := uint64(binary.NativeEndian.Uint32(head[12:]))
	if p, err = parsePage(head); err != nil || p.id != id {
		return p, damaged("page %d says that it is page %d", id, p.id)
	}
	if overflow == 0 {
		return p, nil
	}
	if err := c.mark(id+1, overflow); err != nil {
		return p, err
	}
	p.bytes, err = c.file.read(id, 1+overflow)
	return p, err
}

func parsePage(b []byte) (p page, err error) {
	if len(b) < pageHeadBytes {
		return p, damaged("a page is too short")
	}
	return page{
		id:    binary.NativeEndian.Uint64(b),
		flags: binary.NativeEndian.Uint16(b[8:]),
		count: int(binary.NativeEndian.Uint16(b[10:])),
		bytes: b,
	}, nil
}

func (c *imageCheck) readFreelist() error {
	if err := c.mark(c.meta.freelist, 1); err != nil {
		return err
	}
	p, err := c.load(c.meta.freelist)
	if err != nil {
		return err
	}
	if p.flags != pageFreelist {
		return damaged("page %d is no free list", p.id)
	}
	ids := p.bytes[pageHeadBytes:]
	count := uint64(p.count)
	if count == freelistCountInBody {
		count, ids = binary.NativeEndian.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids)/8) {
		return damaged("the free list is longer than its page")
	}
	for range count {
		if err := c.mark(binary.NativeEndian.Uint64(ids), 1); err != nil {
			return err
		}
		ids = ids[8:]
	}
	return nil
}

func (c *imageCheck) readPage(ref pageRef) error {
	p, err := c.load(ref.id)
	if err != nil {
		return err
	}
	return c.readElements(p, ref.bucket)
}

// readElements checks that the page is laid out as bbolt lays it out, with no
// room between the elements, so that no damage to a length or to the count goes
// unnoticed.
func (c *imageCheck) readElements(p page, bucket bucketID) error {
	if p.flags != pageBranch && p.flags != pageLeaf {
		return damaged("page %d is of kind %#x", p.id, p.flags)
	}
	at := pageHeadBytes + elementBytes*p.count // of the next key
	if at > len(p.bytes) {
		return damaged("page %d has room for fewer than %d elements", p.id, p.count)
	}
	u32 := binary.NativeEndian.Uint32
	var last []byte
	for i := range p.count {
		offset := pageHeadBytes + elementBytes*i
		e := p.bytes[offset:]
		var flags, pos, keyBytes, valueBytes uint32
		if p.flags == pageBranch {
			pos, keyBytes = u32(e), u32(e[4:])
		} else {
			flags, pos, keyBytes, valueBytes = u32(e), u32(e[4:]), u32(e[8:]), u32(e[12:])
		}
		end := int64(at) + int64(keyBytes) + int64(valueBytes)
		if int64(offset)+int64(pos) != int64(at) || end > int64(len(p.bytes)) || keyBytes == 0 {
			return damaged("page %d, element %d is not where it should be", p.id, i)
		}
		key, value := p.bytes[at:at+int(keyBytes)], p.bytes[at+int(keyBytes):end]
		if i > 0 && bytes.Compare(last, key) >= 0 {
			return damaged("page %d, element %d is out of order", p.id, i)
		}
		last, at = key, int(end)
		if p.flags == pageBranch {
			child := binary.NativeEndian.Uint64(e[8:])
			if err := c.mark(child, 1); err != nil {
				return err
			}
			c.next = append(c.next, pageRef{child, bucket})
		} else if err := c.readElement(flags, bucket, key, value); err != nil {
			return err
		}
	}
	return nil
}

// readElement checks a bucket or a record.
func (c *imageCheck) readElement(flags uint32, bucket bucketID, key, value []byte) error {
	if flags != 0 && (flags != elementIsBucket || bucket != bucketRoot) || flags == 0 && bucket == bucketRoot {
		return damaged("the element of key %q has flags %#x", key, flags)
	}
	if flags != elementIsBucket {
		c.counts.records[bucket]++
		if err := verifyRecord(bucket, key, value); err != nil && c.recordErr == nil {
			c.recordErr = err
		}
		return nil
	}
	id := bucketID(slices.Index(bucketNames[:], string(key)))
	if id >= bucketCount {
		if c.recordErr == nil {
			c.recordErr = damaged("there is a bucket %q", key)
		}
		return nil
	}
	if len(value) < bucketHeadBytes {
		return damaged("the head of bucket %v is too short", id)
	}
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		c.next = append(c.next, pageRef{root, id})
		return c.mark(root, 1)
	}
	p, err := parsePage(value[bucketHeadBytes:])
	if err != nil {
		return err
	}
	if p.flags != pageLeaf {
		return damaged("the inline page of bucket %v is of kind %#x", id, p.flags)
	}
	return c.readElements(p, id)
}
