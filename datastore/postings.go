package datastore

import (
	"cmp"
	"container/heap"
	"context"
	"encoding/binary"
	"slices"
	"sort"

	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// postings are objects in the order of their numbers, read as far as asked for.
type postings interface {
	// seek returns the first object with a number of at least from, and
	// whether there is one. from must not be less than in the call before.
	seek(ctx context.Context, from uint64) (records.Posting, bool, error)
}

// indexReader is the part of a [records.Kind] that filters need.
type indexReader interface {
	IndexAfter(field, value string, after uint64) (start, end []byte)
	Posting(key, data []byte) (records.Posting, error)
}

// indexPostings are the records of an index with one value. A page is read when
// it is needed, and each is larger than the one before, unless most of that was
// skipped.
type indexPostings struct {
	tx           store.Tx
	kind         indexReader
	field, value string
	bad          *MalformedRecordsError

	read  []store.KeyValue // the page, without what was passed
	limit int              // of the page; 0 before the first
	hits  int              // how many of the page were returned
	last  bool             // there is nothing behind the page
}

const (
	postingsPageMin = 16
	postingsPageMax = 1024
)

func (l *indexPostings) seek(ctx context.Context, from uint64) (records.Posting, bool, error) {
	for {
		passed := sort.Search(len(l.read), func(i int) bool { return number(l.read[i].Key) >= from })
		l.read = l.read[passed:]
		if len(l.read) > 0 {
			l.hits++
			p, err := l.kind.Posting(l.read[0].Key, l.read[0].Value)
			if l.bad.collect(err) {
				from = number(l.read[0].Key) + 1
				continue
			}
			return p, err == nil, err
		}
		if l.last {
			return records.Posting{}, false, nil
		}
		if 8*l.hits > l.limit {
			l.limit = min(2*l.limit, postingsPageMax)
		} else {
			l.limit = postingsPageMin // what is asked for lies far apart
		}
		l.hits = 0
		start, end := l.kind.IndexAfter(l.field, l.value, max(from, 1)-1)
		var err error
		l.read, err = l.tx.Scan(ctx, store.Range{Start: start, End: end}, l.limit)
		if err != nil {
			return records.Posting{}, false, err
		}
		l.last = len(l.read) < l.limit
		l.read = slices.DeleteFunc(l.read, func(kv store.KeyValue) bool {
			return len(kv.Key) != len(end)+store.PatchSize && l.strange(kv)
		})
	}
}

// strange tells whether kv is no record of the index, such as one whose key is too
// long. It would be out of order.
func (l *indexPostings) strange(kv store.KeyValue) bool {
	_, err := l.kind.Posting(kv.Key, kv.Value)
	return l.bad.collect(err)
}

// number is what an index key ends with.
func number(key []byte) uint64 { return binary.BigEndian.Uint64(key[len(key)-store.PatchSize:]) }

// sortedPostings are postings that have been read already.
type sortedPostings []records.Posting

func (l *sortedPostings) sort() {
	slices.SortFunc(*l, func(a, b records.Posting) int { return cmp.Compare(a.Number, b.Number) })
}

func (l *sortedPostings) seek(_ context.Context, from uint64) (records.Posting, bool, error) {
	i := sort.Search(len(*l), func(i int) bool { return (*l)[i].Number >= from })
	*l = (*l)[i:]
	if len(*l) == 0 {
		return records.Posting{}, false, nil
	}
	return (*l)[0], true, nil
}

// intersection is what all lists have, and keep keeps of it, given the size of
// the set that the last list tells of. A nil keep keeps all.
type intersection struct {
	lists []postings
	keep  func(size uint64) bool
}

func (l *intersection) seek(ctx context.Context, from uint64) (records.Posting, bool, error) {
	var p records.Posting
	for agreed := 0; agreed < len(l.lists); {
		for i, list := range l.lists {
			var ok bool
			var err error
			if p, ok, err = list.seek(ctx, from); err != nil || !ok {
				return records.Posting{}, false, err
			}
			if p.Number > from && i > 0 {
				from, agreed = p.Number, 0
				break
			}
			from, agreed = p.Number, i+1
		}
		if agreed == len(l.lists) && l.keep != nil && !l.keep(p.SetSize) {
			from, agreed = from+1, 0
		}
	}
	return p, len(l.lists) > 0, nil
}

// union is what any list has, and keep keeps of it, given how many lists have
// it and the size of its set. A nil keep keeps all.
type union struct {
	keep    func(hits, size uint64) bool
	waiting heads   // lists whose next is known, by its number
	passed  []*head // those whose next is not
	found   records.Posting
}

func newUnion(lists []postings, keep func(hits, size uint64) bool) *union {
	u := &union{keep: keep}
	for _, list := range lists {
		u.passed = append(u.passed, &head{list: list})
	}
	return u
}

func (l *union) seek(ctx context.Context, from uint64) (records.Posting, bool, error) {
	if l.found.Number >= from && l.found.Number > 0 {
		return l.found, true, nil
	}
	l.found = records.Posting{}
	for {
		for len(l.waiting) > 0 && l.waiting[0].next.Number < from {
			l.pass()
		}
		for _, h := range l.passed {
			var ok bool
			var err error
			if h.next, ok, err = h.list.seek(ctx, from); err != nil {
				return records.Posting{}, false, err
			}
			if ok {
				heap.Push(&l.waiting, h)
			}
		}
		l.passed = l.passed[:0]
		if len(l.waiting) == 0 {
			return records.Posting{}, false, nil
		}
		p, hits := l.waiting[0].next, uint64(0)
		for ; len(l.waiting) > 0 && l.waiting[0].next.Number == p.Number; hits++ {
			l.pass()
		}
		if l.keep == nil || l.keep(hits, p.SetSize) {
			l.found = p
			return p, true, nil
		}
		from = p.Number + 1
	}
}

// pass goes beyond the next of the first list.
func (l *union) pass() {
	l.passed = append(l.passed, heap.Pop(&l.waiting).(*head))
}

// head is a list and the first of it that has not been passed. A heap of
// pointers moves them without allocating.
type head struct {
	list postings
	next records.Posting
}

// heads is a heap by number.
type heads []*head

func (h heads) Len() int           { return len(h) }
func (h heads) Less(i, j int) bool { return h[i].next.Number < h[j].next.Number }
func (h heads) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements [heap.Interface].
func (h *heads) Push(x any) { *h = append(*h, x.(*head)) }

// Pop implements [heap.Interface].
func (h *heads) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
