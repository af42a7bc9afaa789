package simtest

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/spire-raft/spire-raft/store"
)

// Check returns all that is wrong with ops, given the history of all keys from
// the empty store on. It joins the other checks of operations.
func Check(history []store.Batch, ops []*Op) error {
	return errors.Join(
		CheckHistory(history),
		CheckOutcomes(history, ops),
		CheckOrder(ops),
		CheckBounds(ops),
		CheckSnapshots(history, ops),
		CheckSettled(history, ops),
	)
}

// CheckHistory demands that revisions are 1, 2, 3 and so on, and the events of
// each in key order.
func CheckHistory(history []store.Batch) error {
	for i, b := range history {
		if b.Cursor.Revision != store.Revision(i+1) {
			return fmt.Errorf("history: batch %d has revision %d", i+1, b.Cursor.Revision)
		}
		inOrder := func(a, b store.Event) int { return bytes.Compare(a.Key, b.Key) }
		if len(b.Events) == 0 || !slices.IsSortedFunc(b.Events, inOrder) {
			return fmt.Errorf("history: revision %d has no events, or not in key order", b.Cursor.Revision)
		}
	}
	return nil
}

// CheckOutcomes demands that the history holds every write that was
// acknowledged, at the revision it was told and exactly as it was; none that
// failed; none twice; and nothing that nobody wrote.
func CheckOutcomes(history []store.Batch, ops []*Op) error {
	byID := make(map[string]*Op, len(ops))
	for _, o := range ops {
		if o.writes() {
			byID[o.ID] = o
		}
	}
	var errs []error
	landed := make(map[string]store.Revision)
	state := make(map[string][]byte)
	for _, b := range history {
		at := b.Cursor.Revision
		o, err := author(b, byID)
		switch {
		case err != nil:
			errs = append(errs, err)
		case landed[o.ID] != 0:
			errs = append(errs, fmt.Errorf("applied twice, at revisions %d and %d: %v", landed[o.ID], at, o))
		case o.Err != nil && !o.unknown():
			errs = append(errs, fmt.Errorf("applied at revision %d although it failed: %v", at, o))
		case o.Err == nil && o.Revision != at:
			errs = append(errs, fmt.Errorf("applied at revision %d: %v", at, o))
		default:
			landed[o.ID] = at
			errs = append(errs, sameWrites(b, o, state))
		}
		apply(state, b)
	}
	for _, o := range byID {
		if o.Err == nil && landed[o.ID] == 0 {
			errs = append(errs, fmt.Errorf("lost: %v", o))
		}
	}
	return errors.Join(errs...)
}

// author returns the one operation that made b.
func author(b store.Batch, byID map[string]*Op) (*Op, error) {
	var found *Op
	for _, e := range b.Events {
		if e.Kind != store.EventPut {
			continue
		}
		o := byID[idOf(e.Value)]
		if o == nil || found != nil && o != found {
			return nil, fmt.Errorf("revision %d: %q was written by nobody, or by two", b.Cursor.Revision, e.Value)
		}
		found = o
	}
	if found == nil {
		return nil, fmt.Errorf("revision %d has nothing that tells who made it", b.Cursor.Revision)
	}
	return found, nil
}

// sameWrites holds b against what o wrote on state.
func sameWrites(b store.Batch, o *Op, state map[string][]byte) error {
	want := make(map[string]string)
	for _, p := range o.Puts {
		want[string(p.Key)] = "put " + string(p.Value)
	}
	for _, k := range o.Deletes {
		if _, ok := state[string(k)]; ok {
			want[string(k)] = "delete "
		}
	}
	got := make(map[string]string)
	for _, e := range b.Events {
		if n, ok := numberOf(e.Key, o.Counter); ok {
			if o.Err == nil && n != o.Number || !bytes.Equal(e.Value, o.Numbered) {
				return fmt.Errorf("number %d at revision %d, not %d: %v", n, b.Cursor.Revision, o.Number, o)
			}
			continue
		}
		got[string(e.Key)] = e.Kind.String() + " " + string(e.Value)
	}
	if !maps.Equal(got, want) {
		return fmt.Errorf("revision %d has %v, want %v: %v", b.Cursor.Revision, got, want, o)
	}
	return nil
}

// numberOf returns the number in a key of a counter.
func numberOf(key []byte, counter string) (uint64, bool) {
	number, ok := bytes.CutPrefix(key, []byte(counter))
	if counter == "" || !ok || len(number) != store.PatchSize {
		return 0, false
	}
	return binary.BigEndian.Uint64(number), true
}

// CheckSequence demands that the keys of a counter came in the order of their
// numbers, from 1 on and without a gap.
func CheckSequence(history []store.Batch, counter string) error {
	last := uint64(0)
	for _, b := range history {
		for _, e := range b.Events {
			n, ok := numberOf(e.Key, counter)
			if !ok {
				continue
			}
			if n != last+1 {
				return fmt.Errorf("sequence %q: %d follows %d at revision %d", counter, n, last, b.Cursor.Revision)
			}
			last = n
		}
	}
	return nil
}

// CheckInvariant demands that check holds of the state at every revision.
func CheckInvariant(history []store.Batch, check func(state map[string][]byte) error) error {
	state := make(map[string][]byte)
	for _, b := range history {
		apply(state, b)
		if err := check(state); err != nil {
			return fmt.Errorf("revision %d: %w", b.Cursor.Revision, err)
		}
	}
	return nil
}

func apply(state map[string][]byte, b store.Batch) {
	for _, e := range b.Events {
		if e.Kind == store.EventDelete {
			delete(state, string(e.Key))
		} else {
			state[string(e.Key)] = e.Value
		}
	}
}

// landings tells at which revision each write of history took effect, by the id
// of its operation.
func landings(history []store.Batch) map[string]store.Revision {
	landed := make(map[string]store.Revision)
	for _, b := range history {
		for _, e := range b.Events {
			if e.Kind == store.EventPut {
				landed[idOf(e.Value)] = b.Cursor.Revision
			}
		}
	}
	return landed
}

// CheckSnapshots demands that every read found what was there: of a write, at
// the revision before its own, and else at the revision that it was told.
func CheckSnapshots(history []store.Batch, ops []*Op) error {
	landed := landings(history)
	type look struct {
		at store.Revision
		op *Op
	}
	var looks []look
	for _, o := range ops {
		switch at, wrote := landed[o.ID]; {
		case len(o.Reads) == 0:
		case o.writes() && wrote:
			looks = append(looks, look{at - 1, o})
		case !o.writes() && o.Err == nil:
			looks = append(looks, look{o.Revision, o})
		}
	}
	slices.SortFunc(looks, func(a, b look) int { return cmp.Compare(a.at, b.at) })

	var errs []error
	state := make(map[string][]byte)
	at := store.Revision(0)
	for _, l := range looks {
		for at < l.at && int(at) < len(history) {
			apply(state, history[at])
			at++
		}
		if at != l.at {
			errs = append(errs, fmt.Errorf("read at revision %d, the history ends at %d: %v", l.at, at, l.op))
			continue
		}
		errs = append(errs, sameReads(state, at, l.op))
	}
	return errors.Join(errs...)
}

// sameReads holds what o read against state.
func sameReads(state map[string][]byte, at store.Revision, o *Op) error {
	for _, r := range o.Reads {
		want := make(map[string]string)
		for k, v := range state {
			if r.Range.Contains([]byte(k)) {
				want[k] = string(v)
			}
		}
		got := make(map[string]string)
		for _, kv := range r.Pairs {
			got[string(kv.Key)] = string(kv.Value)
		}
		if len(got) != len(r.Pairs) || !maps.Equal(got, want) {
			return fmt.Errorf("at revision %d read %q, want %q: %v", at, got, want, o)
		}
	}
	return nil
}
