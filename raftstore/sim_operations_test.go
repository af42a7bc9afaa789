package raftstore_test

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/raftstore/internal/simtest"
	"github.com/spire-raft/spire-raft/store"
)

// operation is something that a client does on a node. It notes in op what it
// read and wrote.
type operation struct {
	kind   string
	weight int
	run    func(ctx context.Context, c *client, n *raftstore.Node, op *simtest.Op) (store.Revision, error)
}

var operations = []operation{
	{"put", 6, putRegister},
	{"put several", 2, putRegisters},
	{"increment", 4, update(increment)},
	{"transfer", 4, update(transfer)},
	{"claim a slot", 3, update(claim)},
	{"delete", 2, update(deleteRegister)},
	{"look", 2, update(look)},
	{"take a number", 4, takeNumber},
	{"read", 6, readRegisters},
	{"read a snapshot", 3, readAccounts},
	{"read stale", 4, readStale},
	{"read what was seen", 3, readSeen},
}

func (c *client) register() []byte { return []byte(registers + strconv.Itoa(c.rng.IntN(registerMax))) }

func putRegister(ctx context.Context, c *client, n *raftstore.Node, op *simtest.Op) (store.Revision, error) {
	op.Puts = []store.Pair{{Key: c.register(), Value: simtest.Value(op.ID, "")}}
	return n.Put(ctx, op.Puts...)
}

func putRegisters(ctx context.Context, c *client, n *raftstore.Node, op *simtest.Op) (store.Revision, error) {
	for i := range 2 + c.rng.IntN(registerMax-2) {
		op.Puts = append(op.Puts, store.Pair{Key: []byte(registers + strconv.Itoa(i)), Value: simtest.Value(op.ID, i)})
	}
	return n.Put(ctx, op.Puts...)
}

func openAccounts(ctx context.Context, _ *client, n *raftstore.Node, op *simtest.Op) (store.Revision, error) {
	for i := range accountMax {
		op.Puts = append(op.Puts, store.Pair{Key: []byte(accounts + strconv.Itoa(i)), Value: simtest.Value(op.ID, balance)})
	}
	return n.Put(ctx, op.Puts...)
}

// attempt is one run of a transaction.
type attempt struct {
	store.Tx
	ctx context.Context
	c   *client
	op  *simtest.Op
}

// update makes an operation of a function that may run several times.
func update(fn func(a attempt) error) func(context.Context, *client, *raftstore.Node, *simtest.Op) (store.Revision, error) {
	return func(ctx context.Context, c *client, n *raftstore.Node, op *simtest.Op) (store.Revision, error) {
		res, err := store.Update(ctx, n, func(tx store.Tx) error {
			op.Reads, op.Puts, op.Deletes = nil, nil, nil
			return fn(attempt{tx, ctx, c, op})
		})
		return res.Revision, err
	}
}

func (a attempt) scan(prefix string) ([]store.KeyValue, error) {
	r := store.Prefix([]byte(prefix))
	kvs, err := a.Tx.Scan(a.ctx, r, 0)
	if err == nil {
		a.op.Reads = append(a.op.Reads, simtest.Read{Range: r, Pairs: kvs})
	}
	return kvs, err
}

// number reads the number under a key, 0 if there is none.
func (a attempt) number(key string) (int, error) {
	kv, found, err := a.Tx.Get(a.ctx, []byte(key))
	if err != nil {
		return 0, err
	}
	read := simtest.Read{Range: store.Key([]byte(key))}
	if !found {
		a.op.Reads = append(a.op.Reads, read)
		return 0, nil
	}
	read.Pairs = []store.KeyValue{kv}
	a.op.Reads = append(a.op.Reads, read)
	return strconv.Atoi(simtest.Payload(kv.Value))
}

func (a attempt) set(key string, payload any) error {
	p := store.Pair{Key: []byte(key), Value: simtest.Value(a.op.ID, payload)}
	a.op.Puts = append(a.op.Puts, p)
	return a.Tx.Put(p.Key, p.Value)
}

func increment(a attempt) error {
	key := counters + strconv.Itoa(a.c.rng.IntN(counterMax))
	n, err := a.number(key)
	if err != nil {
		return err
	}
	return a.set(key, n+1)
}

func transfer(a attempt) error {
	from := a.c.rng.IntN(accountMax)
	to := (from + 1 + a.c.rng.IntN(accountMax-1)) % accountMax
	amount := 1 + a.c.rng.IntN(10)
	for i, change := range map[int]int{from: -amount, to: amount} {
		key := accounts + strconv.Itoa(i)
		n, err := a.number(key)
		if err != nil {
			return err
		}
		if err := a.set(key, n+change); err != nil {
			return err
		}
	}
	return nil
}

// claim takes the next slot, or frees all of them when they are taken: a key
// that appears meanwhile is a conflict.
func claim(a attempt) error {
	taken, err := a.scan(slots)
	if err != nil {
		return err
	}
	if len(taken) < slotMax {
		return a.set(fmt.Sprintf("%s%02d", slots, len(taken)), "")
	}
	for _, kv := range taken {
		a.op.Deletes = append(a.op.Deletes, kv.Key)
	}
	if _, err := a.Tx.DeleteRange(a.ctx, store.Prefix([]byte(slots))); err != nil {
		return err
	}
	return a.set(marks+a.op.ID, "")
}

// deleteRegister deletes without a read.
func deleteRegister(a attempt) error {
	a.op.Deletes = [][]byte{a.c.register()}
	if err := a.Tx.Delete(a.op.Deletes[0]); err != nil {
		return err
	}
	return a.set(marks+a.op.ID, "")
}

// look writes nothing, which Update must not take from an old snapshot.
func look(a attempt) error {
	_, err := a.scan(accounts)
	return err
}

func takeNumber(ctx context.Context, _ *client, n *raftstore.Node, op *simtest.Op) (store.Revision, error) {
	op.Counter, op.Numbered = numbered, simtest.Value(op.ID, "")
	key := append([]byte(numbered), make([]byte, store.PatchSize)...)
	var taken store.Sequence
	res, err := store.Update(ctx, n, func(tx store.Tx) (err error) {
		if taken, err = tx.Sequence([]byte(sequence)); err != nil {
			return err
		}
		return tx.Put(key, op.Numbered, store.Patch{Sequence: taken, Target: store.PatchKey, Offset: len(numbered)})
	})
	if err == nil {
		op.Number = res.Number(taken)
	}
	return res.Revision, err
}

// get reads prefixes.
func get(ctx context.Context, n *raftstore.Node, op *simtest.Op, fresh store.Consistency, prefix string) (store.Revision, error) {
	r := store.Prefix([]byte(prefix))
	op.Freshness = fresh
	kvs, revision, err := n.Get(ctx, fresh, r)
	op.Reads = []simtest.Read{{Range: r, Pairs: kvs}}
	return revision, err
}

func readRegisters(ctx context.Context, _ *client, n *raftstore.Node, op *simtest.Op) (store.Revision, error) {
	return get(ctx, n, op, store.Linearizable(), registers)
}

// readAccounts reads two prefixes in one read-only transaction.
func readAccounts(ctx context.Context, c *client, n *raftstore.Node, op *simtest.Op) (at store.Revision, err error) {
	err = store.View(ctx, n, store.Linearizable(), func(tx store.Tx) error {
		a := attempt{tx, ctx, c, op}
		if _, err := a.scan(accounts); err != nil {
			return err
		}
		if _, err := a.scan(slots); err != nil {
			return err
		}
		cursor, err := tx.Cursor(ctx)
		at = cursor.Revision
		return err
	})
	return at, err
}

func readStale(ctx context.Context, c *client, n *raftstore.Node, op *simtest.Op) (store.Revision, error) {
	ages := []time.Duration{0, 200 * time.Millisecond, time.Second, 5 * time.Second}
	return get(ctx, n, op, store.BoundedStale(ages[c.rng.IntN(len(ages))]), accounts)
}

// readSeen reads on any node what this client has seen on others.
func readSeen(ctx context.Context, c *client, n *raftstore.Node, op *simtest.Op) (store.Revision, error) {
	return get(ctx, n, op, store.AtLeast(c.last), counters)
}
