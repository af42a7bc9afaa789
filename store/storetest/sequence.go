package storetest

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/spire-raft/spire-raft/store"
)

// testSequenceConcurrent has 64 writers take numbers of one counter.
func testSequenceConcurrent(e *env) {
	const writers, rounds = 64, 8
	var (
		wg      sync.WaitGroup
		mu      sync.Mutex // guards the fields below
		results []store.Result
	)
	for writer := range writers {
		wg.Go(func() {
			for round := range rounds {
				res, err := e.takeNumbers(writer, 1+(writer+round)%2)
				if err != nil {
					e.Errorf("writer %d, round %d: %v", writer, round, err)
					return
				}
				mu.Lock()
				results = append(results, res)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	equal(e, len(results), writers*rounds, "committed transactions")

	slices.SortFunc(results, func(a, b store.Result) int { return cmp.Compare(a.Revision, b.Revision) })
	revisions := make(map[uint64]store.Revision) // by number
	last := uint64(0)
	for i, res := range results {
		if i > 0 && res.Revision == results[i-1].Revision {
			e.Errorf("two transactions have revision %d", res.Revision)
		}
		for _, n := range res.Numbers {
			if n != last+1 {
				e.Fatalf("numbers in commit order: %d follows %d, want %d (revision %d)", n, last, last+1, res.Revision)
			}
			last = n
			revisions[n] = res.Revision
		}
	}
	e.checkNumbers(revisions)
}

// takeNumbers commits a transaction that takes so many numbers, each for a key
// and its value.
func (e *env) takeNumbers(writer, count int) (store.Result, error) {
	tx, err := e.store(writer).Begin(e.ctx, store.TxOptions{})
	if err != nil {
		return store.Result{}, err
	}
	defer tx.Abort()
	// A read that others don't touch must not make the writers conflict.
	if _, _, err := tx.Get(e.ctx, e.key(fmt.Sprintf("own/%d", writer))); err != nil {
		return store.Result{}, err
	}
	for range count {
		seq, err := tx.Sequence(e.key("counter"))
		if err != nil {
			return store.Result{}, err
		}
		prefix := e.key("n/")
		err = tx.Put(withPlaceholder(prefix), make([]byte, store.PatchSize), patchKeyEnd(prefix, seq),
			store.Patch{Sequence: seq, Target: store.PatchValue})
		if err != nil {
			return store.Result{}, err
		}
	}
	return tx.Commit(e.ctx)
}

// checkNumbers compares what is stored under n/ with the numbers that were
// given, and the revisions that gave them.
func (e *env) checkNumbers(revisions map[uint64]store.Revision) {
	e.Helper()
	for i := range e.stores {
		kvs, _, err := e.store(i).Get(e.ctx, store.Linearizable(), store.Prefix(e.key("n/")))
		e.noError(err, "get")
		equal(e, len(kvs), len(revisions), "keys with a number")
		for j, kv := range kvs {
			inKey := binary.BigEndian.Uint64(kv.Key[len(e.key("n/")):])
			equal(e, inKey, uint64(j+1), "number in the key")
			equal(e, binary.BigEndian.Uint64(kv.Value), inKey, "number in the value")
			equal(e, kv.ModRevision, revisions[inKey], "ModRevision of number %d", inKey)
		}
	}
}

// number commits a transaction that takes one number and returns it.
func (e *env) number(i int, counter string) uint64 {
	e.Helper()
	tx := e.begin(i)
	seq := tx.sequence(counter, "number/"+counter+"/")
	return tx.commit().Number(seq)
}

// testSequenceNotBurnt checks that a transaction that fails, for any reason,
// uses no number up.
func testSequenceNotBurnt(e *env) {
	equal(e, e.number(0, "counter"), 1, "the first number")

	tx := e.begin(1)
	tx.sequence("counter", "s/")
	tx.Abort()
	equal(e, e.number(0, "counter"), 2, "the number after an abort")

	tx = e.begin(1)
	tx.get("k")
	tx.sequence("counter", "s/")
	tx.sequence("counter", "s/")
	e.put(0, "k")
	_, err := tx.Commit(e.ctx)
	e.isError(err, store.ErrConflict, "commit")
	equal(e, e.number(0, "counter"), 3, "the number after a conflict")

	tx = e.begin(1)
	tx.sequence("counter", "s/")
	_, err = tx.Sequence(e.key("counter"))
	e.noError(err, "sequence")
	_, err = tx.Commit(e.ctx)
	e.isError(err, store.ErrInvalid, "commit with a number that no patch uses")
	equal(e, e.number(0, "counter"), 4, "the number after an invalid transaction")

	tx = e.begin(0)
	seq := tx.sequence("counter", "s/")
	e.noError(tx.Put(withPlaceholder(e.key("s/")), nil, patchKeyEnd(e.key("s/"), seq)), "put")
	_, err = tx.Commit(e.ctx)
	e.isError(err, store.ErrInvalid, "commit of two writes whose keys become the same")
	equal(e, e.number(1, "counter"), 5, "the number after keys that became the same")
	e.equalList(e.get(0, store.Prefix(e.key("s/"))), "", "what failed transactions wrote")
}

func testSequenceRaise(e *env) {
	raise := func(tx *tx, counter string, floor uint64) {
		e.Helper()
		e.noError(tx.RaiseSequence(e.key(counter), floor), "raise")
	}
	tx := e.begin(0)
	raise(tx, "counter", 41)
	equal(e, tx.commit().Written, true, "Written, of a raise alone")
	equal(e, e.number(1, "counter"), 42, "the number after a raise")

	tx = e.begin(0)
	raise(tx, "counter", 10)
	tx.commit()
	equal(e, e.number(1, "counter"), 43, "the number after a raise to less")

	tx = e.begin(0)
	first := tx.sequence("counter", "s/")
	raise(tx, "counter", 100)
	second := tx.sequence("counter", "s/")
	raise(tx, "counter", 90)
	res := tx.commit()
	equal(e, res.Number(first), 101, "a raise comes before the numbers, also one that was taken earlier")
	equal(e, res.Number(second), 102, "the next number")

	equal(e, e.number(0, "other"), 1, "the first number of another counter")
	e.put(0, "counter=7")
	equal(e, e.number(0, "counter"), 103, "the number after a put of a key of the same name")
	equal(e, e.begin(1).get("counter"), "7", "a key of the same name")

	tx = e.begin(0)
	raise(tx, "ended", math.MaxUint64)
	tx.commit()
	tx = e.begin(1)
	tx.sequence("ended", "s/")
	_, err := tx.Commit(e.ctx)
	e.isError(err, store.ErrInvalid, "commit of a number after the last")
}

// testSequencePatches puts numbers of two counters in the midst of keys and
// values.
func testSequencePatches(e *env) {
	tx := e.begin(1)
	var seqs []store.Sequence
	for i, counter := range []string{"a", "b", "a"} {
		seq, err := tx.Sequence(e.key(counter))
		e.noError(err, "sequence")
		equal(e, seq.Nth, i, "Nth")
		seqs = append(seqs, seq)
	}
	const gap = "........"
	key := e.key("k/")
	e.noError(tx.Put([]byte(string(key)+gap+"/"+gap+"/end"), []byte("<"+gap+"|"+gap+">"),
		store.Patch{Sequence: seqs[0], Target: store.PatchKey, Offset: len(key)},
		store.Patch{Sequence: seqs[1], Target: store.PatchKey, Offset: len(key) + len(gap) + 1},
		store.Patch{Sequence: seqs[2], Target: store.PatchValue, Offset: 1},
		store.Patch{Sequence: seqs[0], Target: store.PatchValue, Offset: 2 + len(gap)},
	), "put with four patches")
	e.noError(tx.Put(e.key("plain"), []byte(gap), store.Patch{Sequence: seqs[2], Target: store.PatchValue}), "put")
	tx.put("unpatched=" + gap)
	res := tx.commit()
	equal(e, fmt.Sprint(res.Numbers), "[1 1 2]", "numbers")

	be := func(n uint64) string { return string(binary.BigEndian.AppendUint64(nil, n)) }
	got := e.get(0, e.all())
	want := []string{"k/" + be(1) + "/" + be(1) + "/end=<" + be(2) + "|" + be(1) + ">", "plain=" + be(2), "unpatched=" + gap}
	if !slices.Equal(got, want) {
		e.Errorf("pairs: got %q, want %q", got, want)
	}
}

func testSequenceInvalid(e *env) {
	rev := e.revision()
	for _, c := range []struct {
		name string
		do   func(tx *tx, seq store.Sequence) error
	}{
		{"a patch that reaches over the end of the key", func(tx *tx, seq store.Sequence) error {
			return tx.Put(withPlaceholder(e.key("")), nil, store.Patch{Sequence: seq, Target: store.PatchKey, Offset: len(e.prefix) + 1})
		}},
		{"a patch before the start", func(tx *tx, seq store.Sequence) error {
			return tx.Put(withPlaceholder(e.key("")), nil, store.Patch{Sequence: seq, Target: store.PatchKey, Offset: -1})
		}},
		{"a patch in a value that is too short", func(tx *tx, seq store.Sequence) error {
			return tx.Put(e.key("k"), make([]byte, store.PatchSize-1), store.Patch{Sequence: seq, Target: store.PatchValue})
		}},
		{"a patch at an offset near the end of numbers", func(tx *tx, seq store.Sequence) error {
			return tx.Put(e.key("k"), make([]byte, store.PatchSize), store.Patch{Sequence: seq, Target: store.PatchValue, Offset: math.MaxInt})
		}},
		{"a patch without a target", func(tx *tx, seq store.Sequence) error {
			return tx.Put(withPlaceholder(e.key("")), nil, store.Patch{Sequence: seq})
		}},
		{"a patch with a number that was not taken", func(tx *tx, seq store.Sequence) error {
			return tx.Put(withPlaceholder(e.key("")), nil, patchKeyEnd(e.key(""), store.Sequence{Nth: seq.Nth + 1}))
		}},
		{"a patch with a number before the first", func(tx *tx, _ store.Sequence) error {
			return tx.Put(withPlaceholder(e.key("")), nil, patchKeyEnd(e.key(""), store.Sequence{Nth: -1}))
		}},
		{"a number that no patch uses any more", func(tx *tx, seq store.Sequence) error {
			if err := tx.Put(e.key("k"), make([]byte, store.PatchSize), store.Patch{Sequence: seq, Target: store.PatchValue}); err != nil {
				return err
			}
			return tx.Put(e.key("k"), []byte("no number"))
		}},
		{"a counter without a name", func(tx *tx, _ store.Sequence) error {
			_, err := tx.Sequence(nil)
			return err
		}},
	} {
		tx := e.begin(0)
		seq, err := tx.Sequence(e.key("counter"))
		e.noError(err, "sequence")
		if err = c.do(tx, seq); err == nil {
			_, err = tx.Commit(e.ctx)
		}
		e.isError(err, store.ErrInvalid, "%s", c.name)
	}

	// A plain write and a patched one whose keys turn out to be the same.
	tx := e.begin(1)
	tx.sequence("counter", "s/")
	tx.delete("s/\x00\x00\x00\x00\x00\x00\x00\x01")
	_, err := tx.Commit(e.ctx)
	e.isError(err, store.ErrInvalid, "commit of a delete and a patched put of one key")
	equal(e, e.revision(), rev, "revision after invalid transactions")
}
