package fsm

import (
	"bytes"

	"github.com/tidwall/btree"

	"github.com/spire-raft/spire-raft/internal/boltfile"
)

// layer holds changes that are not in the database file: the records that were
// put, by bucket and key, and the keys that were deleted. It takes one writer;
// a copy is for readers.
type layer struct {
	trees   [bucketConfiguration]*tree
	bytes   int    // what it costs, see itemCost
	largest uint64 // bytes of the largest record that ever was in it, with its key
}

// tree is a bucket's share of a layer.
type tree = btree.BTreeG[item]

// item is a record, or a deletion where that is nil. Neither slice ever changes.
type item struct{ key, record []byte }

// layerDegree is that of a layer's trees. Each batch copies the nodes that it
// touches, so that views keep theirs; larger nodes make that dear, smaller ones
// the search.
const layerDegree = 16

// itemCost counts for an item besides its key and record. In memory it takes a
// tenth of that. But when it is written it touches a page of its own as a rule,
// of which memory and file hold another copy until that is done: a layer of 32
// MiB touches 32,768 pages at most, which are 128 MiB.
const itemCost = 1 << 10

// besideMin is from which size on a record shares its page with few others, which
// may be as large: besideRecords of them are written again with it, however
// little of it is left. Those cost, too, or a thousand deletes, which cost nothing
// by themselves, would write the same amount of data to other places of the file
// before any place is free again.
const (
	besideMin     = boltfile.PageBytes / 4
	besideRecords = 3
)

func newLayer() *layer {
	l := &layer{}
	for id := range l.trees {
		l.trees[id] = btree.NewBTreeGOptions(
			func(a, b item) bool { return bytes.Compare(a.key, b.key) < 0 },
			btree.Options{Degree: layerDegree, NoLocks: true},
		)
	}
	return l
}

// put keeps key and record, nil for a deletion, in place of what was there, and
// tells whether the layer had nothing for key. The memory of a small record that
// is replaced is not free: others of its chunk in the arena keep it.
func (l *layer) put(id bucketID, key, record []byte) (first bool) {
	old, replaced := l.trees[id].Set(item{key, record})
	if replaced {
		l.bytes -= itemCost + len(old.key)
		if len(old.record) > arenaShareMax {
			l.bytes -= len(old.record)
		}
	}
	l.bytes += itemCost + len(key) + len(record)
	if record != nil {
		l.largest = max(l.largest, uint64(len(key)+len(record)))
	}
	return !replaced
}

// replace is put where the record takes the place of one with so many bytes.
func (l *layer) replace(id bucketID, key, record []byte, old int) {
	if l.put(id, key, record) && old >= besideMin {
		l.bytes += besideRecords * old
	}
}

// copy returns the layer as it is now, for readers.
func (l *layer) copy() *layer {
	c := &layer{bytes: l.bytes, largest: l.largest}
	for id := range l.trees {
		c.trees[id] = l.trees[id].IsoCopy()
	}
	return c
}
