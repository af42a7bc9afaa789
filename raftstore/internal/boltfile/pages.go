package boltfile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"

	"github.com/spire-raft/spire-raft/store"
)

// Layout of the other pages. A header: id, flags, number of elements, number of
// pages that follow and belong to it. Then the elements, of which the position
// of the key counts from the element's own start:
//
//	branch: position of the key uint32, its length uint32, child page uint64
//	leaf:   flags uint32, position of the key uint32, its length uint32, length of the value uint32
//
// The value of a leaf element with bucketFlag is a bucket: its root page
// uint64, a counter uint64 and, where the root is 0, a leaf page within the value.
const (
	offFlags    = 8
	offCount    = 10
	offOverflow = 12

	elementBytes = 16
	bucketBytes  = 16

	flagBranch = 1
	flagLeaf   = 2
	bucketFlag = 1

	// depthMax ends the walk where no sound file goes: a tree of depth d has
	// at least 2^d leaves.
	depthMax = 64
)

// CheckPages does what [CheckSize] does and reads every page in use to verify
// that they form the tree that bbolt expects: each page once, of the right kind
// and identity, packed, with keys in order and within bounds. It says nothing
// about the values, which have checksums of their own.
//
// Unlike bbolt, it demands that both meta pages are valid. bbolt takes the older
// one if the newer is damaged, since a power cut may leave it half written. But
// a meta page fits into a disk's sector, which is written whole or not at all,
// so damage is more likely decay, and then the older page silently takes back a
// transaction that was acknowledged.
//
// bbolt makes the same walk when it opens a file without a stored freelist, but
// in a goroutine, where no caller can recover from the panic or fault that
// damage causes. No process may have the file open.
func CheckPages(path string) error {
	f, newest, err := openMeta(path)
	if err != nil || f == nil {
		return err
	}
	defer f.Close()
	if newest.alone {
		return fmt.Errorf("%s: one of its two bbolt meta pages is damaged, and with it maybe the last transaction: %w",
			path, store.ErrCorrupt)
	}
	w := walker{
		f:         f,
		pageSize:  uint64(newest.pageSize),
		highWater: newest.highWater,
		seen:      make([]bool, newest.highWater),
	}
	w.seen[0], w.seen[1] = true, true // the meta pages
	if err := w.walk(newest.root, bounds{}, 0); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// walker reads the tree of pages. Invariant: a page is entered only if it was
// not seen before, so the walk ends whatever the file holds.
type walker struct {
	f         *os.File
	pageSize  uint64
	highWater uint64
	seen      []bool
	bufs      [depthMax][]byte // one for each depth: a child is read while its parent's keys are in use
}

// bounds are the keys that a page may hold: min <= key < max, where nil stands
// for no bound.
type bounds struct{ min, max []byte }

func corrupt(page uint64, what string) error {
	return fmt.Errorf("bbolt page %d %s: %w", page, what, store.ErrCorrupt)
}

func (w *walker) walk(id uint64, b bounds, depth int) error {
	if depth == depthMax {
		return corrupt(id, "is nested too deep")
	}
	data, err := w.read(id, depth)
	if err != nil {
		return err
	}
	if binary.NativeEndian.Uint16(data[offFlags:]) == flagBranch {
		return w.branch(id, data, b, depth)
	}
	return w.leaf(id, data, b, depth)
}

// read returns the page and those that belong to it. The slice is valid until
// the next read at the same depth.
func (w *walker) read(id uint64, depth int) ([]byte, error) {
	if id >= w.highWater {
		return nil, corrupt(id, "lies behind the end")
	}
	data, err := w.fill(id, 1, depth)
	if err != nil {
		return nil, err
	}
	order := binary.NativeEndian
	flags, pages := order.Uint16(data[offFlags:]), 1+uint64(order.Uint32(data[offOverflow:]))
	if order.Uint64(data) != id || flags != flagBranch && flags != flagLeaf {
		return nil, corrupt(id, "is not what it should be")
	}
	if pages > w.highWater-id {
		return nil, corrupt(id, "goes on behind the end")
	}
	for i := id; i < id+pages; i++ {
		if w.seen[i] {
			return nil, corrupt(i, "is used twice")
		}
		w.seen[i] = true
	}
	if pages == 1 {
		return data, nil
	}
	return w.fill(id, pages, depth)
}

// fill reads pages into the buffer of a depth.
func (w *walker) fill(id, pages uint64, depth int) ([]byte, error) {
	size := pages * w.pageSize
	if uint64(cap(w.bufs[depth])) < size {
		w.bufs[depth] = make([]byte, size)
	}
	data := w.bufs[depth][:size]
	_, err := io.ReadFull(io.NewSectionReader(w.f, int64(id*w.pageSize), int64(size)), data)
	return data, err
}

func (w *walker) branch(id uint64, data []byte, b bounds, depth int) error {
	n := int(binary.NativeEndian.Uint16(data[offCount:]))
	if n == 0 {
		return corrupt(id, "has no children")
	}
	keys := make([][]byte, 0, n)
	children := make([]uint64, 0, n)
	c := newCutter(data, n)
	for range n {
		order := binary.NativeEndian
		e := c.element()
		if e == nil {
			return corrupt(id, "is cut off")
		}
		key, _, ok := c.cut(order.Uint32(e), order.Uint32(e[4:]), 0)
		if !ok {
			return corrupt(id, "has a key in the wrong place")
		}
		keys, children = append(keys, key), append(children, order.Uint64(e[8:]))
	}
	if !ordered(keys, b) {
		return corrupt(id, "has keys out of order")
	}
	for i, child := range children {
		within := bounds{min: keys[i], max: b.max}
		if i+1 < n {
			within.max = keys[i+1]
		}
		if err := w.walk(child, within, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) leaf(id uint64, data []byte, b bounds, depth int) error {
	n := int(binary.NativeEndian.Uint16(data[offCount:]))
	keys := make([][]byte, 0, n)
	c := newCutter(data, n)
	for range n {
		order := binary.NativeEndian
		e := c.element()
		if e == nil {
			return corrupt(id, "is cut off")
		}
		key, value, ok := c.cut(order.Uint32(e[4:]), order.Uint32(e[8:]), order.Uint32(e[12:]))
		if !ok {
			return corrupt(id, "has a key or value in the wrong place")
		}
		keys = append(keys, key)
		switch order.Uint32(e) {
		case 0:
		case bucketFlag:
			if err := w.bucket(id, value, depth); err != nil {
				return err
			}
		default:
			return corrupt(id, "has an element of unknown kind")
		}
	}
	if !ordered(keys, b) {
		return corrupt(id, "has keys out of order")
	}
	return nil
}

// bucket walks the bucket that is the value of an element of page id.
func (w *walker) bucket(id uint64, value []byte, depth int) error {
	if len(value) < bucketBytes {
		return corrupt(id, "has a bucket that is cut off")
	}
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		return w.walk(root, bounds{}, depth+1)
	}
	inline := value[bucketBytes:]
	if len(inline) < headerBytes || binary.NativeEndian.Uint16(inline[offFlags:]) != flagLeaf || depth+1 == depthMax {
		return corrupt(id, "has a bucket that is not what it should be")
	}
	return w.leaf(id, inline, bounds{}, depth+1)
}

// cutter takes a page apart. bbolt packs it: behind the last element the first
// key and value, then the second and so on. So every byte has one place to be,
// and a wrong count, position or length shows.
type cutter struct {
	page       []byte
	elementOff int // of the element last returned
	dataOff    int // of the next key
}

func newCutter(page []byte, elements int) *cutter {
	return &cutter{page: page, elementOff: headerBytes - elementBytes, dataOff: headerBytes + elements*elementBytes}
}

// element returns the next element, or nil behind the end of the page.
func (c *cutter) element() []byte {
	c.elementOff += elementBytes
	if c.elementOff+elementBytes > len(c.page) {
		return nil
	}
	return c.page[c.elementOff:][:elementBytes]
}

// cut returns the key and value of the element last returned, which says that
// they are at pos and have these lengths.
func (c *cutter) cut(pos, keyLen, valueLen uint32) (key, value []byte, ok bool) {
	if uint64(c.elementOff)+uint64(pos) != uint64(c.dataOff) ||
		uint64(c.dataOff)+uint64(keyLen)+uint64(valueLen) > uint64(len(c.page)) {
		return nil, nil, false
	}
	rest := c.page[c.dataOff:]
	c.dataOff += int(keyLen) + int(valueLen)
	return rest[:keyLen], rest[keyLen:][:valueLen], true
}

// ordered tells whether keys rise and lie within b.
func ordered(keys [][]byte, b bounds) bool {
	for i, key := range keys {
		if i == 0 && bytes.Compare(key, b.min) < 0 || i > 0 && bytes.Compare(keys[i-1], key) >= 0 {
			return false
		}
	}
	return len(keys) == 0 || b.max == nil || bytes.Compare(keys[len(keys)-1], b.max) < 0
}
