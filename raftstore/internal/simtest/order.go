package simtest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spire-raft/spire-raft/store"
)

// CheckOrder demands that revisions respect real time: what began after
// another operation had returned took effect after it. Of reads it looks at the
// linearizable ones.
func CheckOrder(ops []*Op) error {
	type edge struct {
		at  uint64
		op  *Op
		end bool
	}
	var edges []edge
	for _, o := range ops {
		if o.Err == nil && (o.writes() || o.Freshness == store.Linearizable()) {
			edges = append(edges, edge{o.begin, o, false}, edge{o.end, o, true})
		}
	}
	slices.SortFunc(edges, func(a, b edge) int { return cmp.Compare(a.at, b.at) })

	var errs []error
	var newest *Op // the one of the greatest revision that has returned
	floors := make(map[*Op]*Op)
	for _, e := range edges {
		switch {
		case !e.end:
			floors[e.op] = newest
		default:
			if floor := floors[e.op]; floor != nil && !after(e.op, floor) {
				errs = append(errs, fmt.Errorf("took effect before something that had returned before it began: %v; before it: %v", e.op, floor))
			}
			if newest == nil || e.op.Revision > newest.Revision {
				newest = e.op
			}
		}
	}
	return errors.Join(errs...)
}

// after tells whether o may have taken effect after floor.
func after(o, floor *Op) bool {
	return o.Revision > floor.Revision || o.Revision == floor.Revision && !o.writes()
}

// CheckSettled demands that after an unknown outcome a linearizable read through
// the same process is of a state in which the write has happened, or never will.
func CheckSettled(history []store.Batch, ops []*Op) error {
	landed := landings(history)
	reads := make(map[any][]*Op) // of each process, in the order of their begins
	for _, o := range ops {
		if o.Err == nil && !o.writes() && o.Freshness == store.Linearizable() {
			reads[o.Process] = append(reads[o.Process], o)
		}
	}
	for _, r := range reads {
		slices.SortFunc(r, func(a, b *Op) int { return cmp.Compare(a.begin, b.begin) })
	}
	var errs []error
	for _, o := range ops {
		at := landed[o.ID]
		if !o.writes() || !o.unknown() || at == 0 {
			continue
		}
		for _, r := range reads[o.Process] {
			if r.begin > o.end && r.Revision < at {
				errs = append(errs, fmt.Errorf("applied at revision %d although a read after it had not found it: %v; the read: %v", at, o, r))
				break
			}
		}
	}
	return errors.Join(errs...)
}

// CheckBounds demands that reads which may be stale were not more so than they
// allowed.
func CheckBounds(ops []*Op) error {
	type ack struct {
		at       time.Time
		revision store.Revision // the greatest of all acknowledged until then
	}
	var acks []ack
	for _, o := range ops {
		if o.writes() && o.Err == nil {
			acks = append(acks, ack{o.ended, o.Revision})
		}
	}
	slices.SortFunc(acks, func(a, b ack) int { return a.at.Compare(b.at) })
	for i := 1; i < len(acks); i++ {
		acks[i].revision = max(acks[i].revision, acks[i-1].revision)
	}

	var errs []error
	for _, o := range ops {
		if o.Err != nil || o.writes() {
			continue
		}
		least, _ := o.Freshness.MinRevision()
		if age, ok := o.Freshness.MaxAge(); ok {
			// The first that was not acknowledged before the bound.
			i, _ := slices.BinarySearchFunc(acks, o.begun.Add(-age), func(a ack, t time.Time) int { return a.at.Compare(t) })
			if i > 0 {
				least = acks[i-1].revision
			}
		}
		if o.Revision < least {
			errs = append(errs, fmt.Errorf("read with %v must have seen revision %d: %v", o.Freshness, least, o))
		}
	}
	return errors.Join(errs...)
}
