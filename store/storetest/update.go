package storetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/spire-raft/spire-raft/store"
)

// testUpdateParallel has 20 writers count up one value: no update is lost, and
// no writer sees a conflict.
func testUpdateParallel(e *env) {
	const writers, rounds = 20, 5
	var wg sync.WaitGroup
	for writer := range writers {
		wg.Go(func() {
			for range rounds {
				_, err := store.Update(e.ctx, e.store(writer), func(tx store.Tx) error {
					n, err := e.readNumber(tx, "n")
					if err != nil {
						return err
					}
					return tx.Put(e.key("n"), strconv.AppendInt(nil, n+1, 10))
				})
				if err != nil {
					e.Errorf("writer %d: %v", writer, err)
				}
			}
		})
	}
	wg.Wait()
	e.equalList(e.get(1, e.all()), fmt.Sprintf("n=%d", writers*rounds), "the value that all counted up")
}

// readNumber reads a decimal number, 0 where the key is absent.
func (e *env) readNumber(tx store.Tx, key string) (int64, error) {
	kv, found, err := tx.Get(e.ctx, e.key(key))
	if err != nil || !found {
		return 0, err
	}
	return strconv.ParseInt(string(kv.Value), 10, 64)
}

// testUpdateError checks that an error of the function is returned as it is,
// and nothing is written.
func testUpdateError(e *env) {
	rev := e.put(0, "k=1")
	why := errors.New("because")
	for i := range e.stores {
		_, err := store.Update(e.ctx, e.store(i), func(tx store.Tx) error {
			return errors.Join(tx.Put(e.key("k"), []byte("2")), why)
		})
		e.isError(err, why, "update whose function fails")
		res, err := store.Update(e.ctx, e.store(i), func(store.Tx) error { return nil })
		e.noError(err, "update that writes nothing")
		equal(e, res.Written, false, "Written")
		equal(e, res.Revision, rev, "revision of an update that writes nothing")
	}
	e.equalList(e.get(1, e.all()), "k=1", "what is there")
}

// testUpdateSeesOtherHandle fails an update where it can't see what was just
// written through another handle: its function must not have the last word on
// a snapshot that lags.
func testUpdateSeesOtherHandle(e *env) {
	errMissing := errors.New("the object does not exist")
	for i := range 40 {
		key := fmt.Sprint(i)
		e.put(i, key+"=1")
		_, err := store.Update(e.ctx, e.store(i+1), func(tx store.Tx) error {
			_, found, err := tx.Get(e.ctx, e.key(key))
			if err == nil && !found {
				err = errMissing
			}
			return err
		})
		e.noError(err, "update through handle %d of what handle %d wrote", i+1, i)
	}
}

// testInvariantUnderLoad moves amounts between accounts through all handles,
// while readers check that the sum stays.
func testInvariantUnderLoad(e *env) {
	const accounts, each, movers, moves = 6, 100, 6, 15
	account := func(i int) string { return fmt.Sprintf("account/%d", i%accounts) }
	for i := range accounts {
		e.put(i, fmt.Sprintf("%s=%d", account(i), each))
	}
	ctx, stop := context.WithCancel(e.ctx)
	defer stop()
	var readers, writers sync.WaitGroup
	for i := range e.stores {
		readers.Go(func() {
			for ctx.Err() == nil {
				if sum, err := e.sum(ctx, i); ctx.Err() == nil && (err != nil || sum != accounts*each) {
					e.Errorf("sum of the accounts through handle %d: got %d and error %v, want %d", i, sum, err, accounts*each)
					return
				}
			}
		})
	}
	for mover := range movers {
		writers.Go(func() {
			for i := range moves {
				from, to := account(mover+i), account(mover+3*i+1)
				if _, err := store.Update(e.ctx, e.store(mover), func(tx store.Tx) error { return e.move(tx, from, to) }); err != nil {
					e.Errorf("mover %d: %v", mover, err)
				}
			}
		})
	}
	writers.Wait()
	stop()
	readers.Wait()
	sum, err := e.sum(e.ctx, 0)
	e.noError(err, "sum")
	equal(e, sum, accounts*each, "sum of the accounts in the end")
}

// move takes one from an account and gives it to another, or to itself.
func (e *env) move(tx store.Tx, from, to string) error {
	for _, step := range []struct {
		account string
		by      int64
	}{{from, -1}, {to, 1}} {
		n, err := e.readNumber(tx, step.account)
		if err != nil {
			return err
		}
		if err := tx.Put(e.key(step.account), strconv.AppendInt(nil, n+step.by, 10)); err != nil {
			return err
		}
	}
	return nil
}

func (e *env) sum(ctx context.Context, i int) (int64, error) {
	kvs, _, err := e.store(i).Get(ctx, store.Linearizable(), store.Prefix(e.key("account/")))
	if err != nil {
		return 0, err
	}
	sum := int64(0)
	for _, kv := range kvs {
		n, err := strconv.ParseInt(string(kv.Value), 10, 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}
