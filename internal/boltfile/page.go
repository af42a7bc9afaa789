package boltfile

import (
	"encoding/binary"
	"iter"
)

// A page has a head: its id, its kind, the number of its elements, and the
// number of pages that follow and belong to it. Then come the elements:
//
//	branch: position of the key uint32, its length uint32, child page uint64
//	leaf:   flags uint32, position of the key uint32, its length uint32, length of the value uint32
//
// and then the keys and values. A position counts from the element's own start.
// The value of a leaf element with elementIsBucket is a bucket: its root page
// uint64, a counter uint64 and, where the root is 0, a leaf within the value.
const (
	pageHeadBytes   = 16
	elementBytes    = 16 // of branch and leaf pages alike
	bucketHeadBytes = 16

	offKind     = 8
	offCount    = 10
	offOverflow = 12

	pageBranch   = 0x01
	pageLeaf     = 0x02
	pageMeta     = 0x04
	pageFreelist = 0x10

	elementIsBucket = 0x01

	// freelistCountInBody, as the count of a free list's page, says that the
	// count is the first of its numbers.
	freelistCountInBody = 0xffff
)

// page is a page with those that belong to it.
type page struct {
	id    uint64
	kind  uint16
	count int
	bytes []byte // from the head on
}

// parsePage takes the head of a page apart. b has room for one.
func parsePage(b []byte) page {
	return page{
		id:    binary.NativeEndian.Uint64(b),
		kind:  binary.NativeEndian.Uint16(b[offKind:]),
		count: int(binary.NativeEndian.Uint16(b[offCount:])),
		bytes: b,
	}
}

type element struct {
	key, value []byte // parts of the page
	flags      uint32 // of a leaf's element
	child      uint64 // of a branch's element
}

// elements yields the elements of a branch or leaf page, or the one error that
// ends them.
//
// bbolt packs a page: behind the last element the first key and value, then the
// second and so on. So every byte has one place to be, and a wrong count,
// position or length shows.
func (p *page) elements() iter.Seq2[element, error] {
	return func(yield func(element, error) bool) {
		at := pageHeadBytes + elementBytes*p.count // of the next key
		if at > len(p.bytes) {
			yield(element{}, corrupt("page %d has no room for %d elements", p.id, p.count))
			return
		}
		u32 := binary.NativeEndian.Uint32
		for i := range p.count {
			offset := pageHeadBytes + elementBytes*i
			b := p.bytes[offset:]
			var e element
			var pos, keyBytes, valueBytes uint32
			if p.kind == pageBranch {
				pos, keyBytes, e.child = u32(b), u32(b[4:]), binary.NativeEndian.Uint64(b[8:])
			} else {
				e.flags, pos, keyBytes, valueBytes = u32(b), u32(b[4:]), u32(b[8:]), u32(b[12:])
			}
			end := int64(at) + int64(keyBytes) + int64(valueBytes)
			if int64(offset)+int64(pos) != int64(at) || end > int64(len(p.bytes)) || keyBytes == 0 {
				yield(element{}, corrupt("page %d, element %d is not where it should be", p.id, i))
				return
			}
			e.key, e.value = p.bytes[at:at+int(keyBytes)], p.bytes[at+int(keyBytes):end]
			if !yield(e, nil) {
				return
			}
			at = int(end)
		}
	}
}
