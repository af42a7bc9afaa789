package storetest

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/spire-raft/spire-raft/store"
)

// serialKeys are few, so that transactions meet.
const serialKeys = 12

// serialTx is what a committed transaction read and wrote.
type serialTx struct {
	worker, round int
	began         store.Revision // newest revision that was acknowledged before it began
	snapshot      store.Revision
	committed     store.Revision
	reads         []serialRead
	writes        map[string]string // by key, "" for a delete
}

// serialRead is a range as it was scanned: up to limit pairs, or all where that
// is 0. Values are never empty.
type serialRead struct {
	from, to string
	limit    int
	found    []string
}

// testSerializable runs random transactions at once through all handles, then
// runs those that committed one after the other in the order of their revisions:
// each must read what it has read. It also wants each snapshot to hold whatever
// was acknowledged before.
func testSerializable(e *env) {
	const workers, rounds = 8, 20
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex // guards txs
		txs   []*serialTx
		acked atomic.Uint64 // newest revision acknowledged
	)
	seed := rand.Uint64()
	e.Logf("seed %d", seed)
	for worker := range workers {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(worker)))
			for round := range rounds {
				tx := &serialTx{worker: worker, round: round, began: store.Revision(acked.Load())}
				err := e.runSerial(tx, rnd)
				if errors.Is(err, store.ErrConflict) {
					continue
				}
				if err != nil {
					e.Errorf("worker %d, round %d: %v", worker, round, err)
					return
				}
				mu.Lock()
				txs = append(txs, tx)
				acked.Store(max(acked.Load(), uint64(tx.committed)))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	e.Logf("%d of %d transactions committed", len(txs), workers*rounds)
	e.replay(txs)
}

// runSerial fills in tx as it goes.
func (e *env) runSerial(tx *serialTx, rnd *rand.Rand) error {
	t, err := e.store(tx.worker).Begin(e.ctx, store.TxOptions{})
	if err != nil {
		return err
	}
	defer t.Abort()
	cursor, err := t.Cursor(e.ctx)
	if err != nil {
		return err
	}
	tx.snapshot = cursor.Revision

	runtime.Gosched() // so that transactions overlap on a backend that answers at once, too

	name := func() string { return fmt.Sprintf("%02d", rnd.IntN(serialKeys)) }
	for range 1 + rnd.IntN(2) {
		r := serialRead{from: name(), limit: rnd.IntN(3)}
		r.to = r.from + "\x00" // that key alone
		if rnd.IntN(2) == 0 {
			r.to = name() // which may come before r.from
		}
		kvs, err := t.Scan(e.ctx, e.span(r.from, r.to), r.limit)
		if err != nil {
			return err
		}
		r.found = e.format(kvs)
		tx.reads = append(tx.reads, r)
	}
	tx.writes = make(map[string]string)
	for range 1 + rnd.IntN(2) {
		key, value := name(), fmt.Sprintf("%d.%d", tx.worker, tx.round)
		if rnd.IntN(3) == 0 {
			value, err = "", t.Delete(e.key(key))
		} else {
			err = t.Put(e.key(key), []byte(value))
		}
		if err != nil {
			return err
		}
		tx.writes[key] = value
	}
	runtime.Gosched()
	res, err := t.Commit(e.ctx)
	tx.committed = res.Revision
	return err
}

// replay runs txs one after the other. One that changed nothing, since all it
// deleted was absent, has the revision of the state it saw, not of its own.
func (e *env) replay(txs []*serialTx) {
	state := make(map[string]string)
	byRevision := make(map[store.Revision][]*serialTx)
	for _, tx := range txs {
		byRevision[tx.committed] = append(byRevision[tx.committed], tx)
	}
	for _, rev := range slices.Sorted(maps.Keys(byRevision)) {
		// At most one of them made the revision; the others came behind it.
		group := byRevision[rev]
		if i := makerOf(group, state); i > 0 {
			group[0], group[i] = group[i], group[0]
		}
		for i, tx := range group {
			if tx.snapshot < tx.began {
				e.Errorf("worker %d, round %d reads revision %d, but revision %d was acknowledged before it began", tx.worker, tx.round, tx.snapshot, tx.began)
			}
			if i > 0 && tx.changes(state) {
				e.Errorf("worker %d, round %d is not the only transaction of revision %d", tx.worker, tx.round, rev)
			}
			e.replayReads(tx, state)
			tx.apply(state)
		}
	}
	var left []string
	for _, key := range slices.Sorted(maps.Keys(state)) {
		left = append(left, key+"="+state[key])
	}
	e.equalList(e.get(1, e.all()), strings.Join(left, " "), "what is left")
}

// makerOf returns the place in group of the transaction that made their revision
// on state: the one that reads what is there, and behind which the others read
// what is there then and change nothing. By its writes alone another may seem to
// have made it, if it deletes a key that the maker has deleted before it. It
// returns -1 where there is no such transaction.
func makerOf(group []*serialTx, state map[string]string) int {
	return slices.IndexFunc(group, func(tx *serialTx) bool {
		if !tx.changes(state) || !tx.sees(state) {
			return false
		}
		after := maps.Clone(state)
		tx.apply(after)
		return !slices.ContainsFunc(group, func(other *serialTx) bool {
			return other != tx && (other.changes(after) || !other.sees(after))
		})
	})
}

// sees tells whether tx has read what is in state.
func (tx *serialTx) sees(state map[string]string) bool {
	return !slices.ContainsFunc(tx.reads, func(r serialRead) bool { return !slices.Equal(r.found, r.on(state)) })
}

// on returns what the read finds in state.
func (r serialRead) on(state map[string]string) (found []string) {
	for _, key := range slices.Sorted(maps.Keys(state)) {
		if key >= r.from && key < r.to && (r.limit == 0 || len(found) < r.limit) {
			found = append(found, key+"="+state[key])
		}
	}
	return found
}

// apply does to state what tx writes.
func (tx *serialTx) apply(state map[string]string) {
	for key, value := range tx.writes {
		if value == "" {
			delete(state, key)
		} else {
			state[key] = value
		}
	}
}

// changes tells whether tx makes a revision on state.
func (tx *serialTx) changes(state map[string]string) bool {
	for key, value := range tx.writes {
		if _, there := state[key]; there || value != "" {
			return true
		}
	}
	return false
}

func (e *env) replayReads(tx *serialTx, state map[string]string) {
	for _, r := range tx.reads {
		e.equalList(r.found, strings.Join(r.on(state), " "), "worker %d, round %d, from snapshot %d committed at %d, reads %q to %q, at most %d",
			tx.worker, tx.round, tx.snapshot, tx.committed, r.from, r.to, r.limit)
	}
}
