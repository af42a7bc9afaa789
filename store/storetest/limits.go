package storetest

import (
	"bytes"
	"encoding/binary"
	"strings"

	"github.com/spire-raft/spire-raft/store"
)

// refused puts a pair in each way there is, and wants an error that names what
// is wrong, and no change.
func (e *env) refused(want error, names, what string, pair store.Pair) {
	e.Helper()
	rev := e.revision()
	_, err := e.store(0).Put(e.ctx, pair)
	e.isError(err, want, "put of %s", what)
	e.mentions(err, names, "put of "+what)

	tx := e.begin(1)
	if err = tx.Put(pair.Key, pair.Value); err == nil {
		_, err = tx.Commit(e.ctx)
	}
	e.isError(err, want, "tx put of %s", what)
	e.mentions(err, names, "tx put of "+what)
	equal(e, e.revision(), rev, "revision after a refused put of %s", what)
}

// tooLarge wants an error that names the limit which is exceeded.
func (e *env) tooLarge(err error, limit, what string) {
	e.Helper()
	e.isError(err, store.ErrTooLarge, "%s", what)
	e.mentions(err, limit, what)
}

func (e *env) mentions(err error, names, what string) {
	e.Helper()
	if err != nil && !strings.Contains(err.Error(), names) {
		e.Errorf("%s: error %q does not name %s", what, err, names)
	}
}

func testLimitKey(e *env) {
	longest := e.key(strings.Repeat("k", store.KeyBytesMax-len(e.prefix)))
	_, err := e.store(1).Put(e.ctx, store.Pair{Key: longest, Value: []byte("v")})
	e.noError(err, "put of the longest key")
	kvs, _, err := e.store(0).Get(e.ctx, store.Linearizable(), store.Key(longest))
	e.noError(err, "get of the longest key")
	equal(e, len(kvs), 1, "pairs with the longest key")
	rest, _, err := e.store(0).Count(e.ctx, store.Linearizable(), e.all().After(longest))
	e.noError(err, "count behind the longest key")
	equal(e, rest, 0, "keys behind the longest")

	longer := append(longest, 'k')
	e.refused(store.ErrTooLarge, "KeyBytesMax", "a key that is too long", store.Pair{Key: longer})
	e.refused(store.ErrInvalid, "at least 1 byte", "the empty key", store.Pair{Value: []byte("v")})

	tx := e.begin(0)
	_, _, err = tx.Get(e.ctx, longer)
	e.tooLarge(err, "KeyBytesMax", "get of a key that is too long")
	_, _, err = tx.Get(e.ctx, nil)
	e.isError(err, store.ErrInvalid, "get of the empty key")
	e.tooLarge(tx.Delete(longer), "KeyBytesMax", "delete of a key that is too long")
	_, err = tx.Sequence(longer)
	e.tooLarge(err, "KeyBytesMax", "a counter name that is too long")
	e.tooLarge(tx.RaiseSequence(longer, 1), "KeyBytesMax", "a raise of a counter name that is too long")
}

func testLimitValue(e *env) {
	largest := bytes.Repeat([]byte("v"), store.ValueBytesMax)
	_, err := e.store(1).Put(e.ctx, store.Pair{Key: e.key("k"), Value: largest})
	e.noError(err, "put of the largest value")
	kvs, _, err := e.store(0).Get(e.ctx, store.Linearizable(), store.Key(e.key("k")))
	e.noError(err, "get of the largest value")
	if len(kvs) != 1 || !bytes.Equal(kvs[0].Value, largest) {
		e.Error("the largest value comes back changed")
	}
	e.refused(store.ErrTooLarge, "ValueBytesMax", "a value that is too large", store.Pair{Key: e.key("k"), Value: append(largest, 'v')})
}

func testLimitTxOps(e *env) {
	before := e.revision()
	tx := e.begin(0)
	key := func(i int) []byte { return binary.BigEndian.AppendUint32(e.key(""), uint32(i)) }
	for i := range store.TxOpsMax {
		e.noError(tx.Put(key(i), nil), "put %d", i)
	}
	e.noError(tx.Put(key(0), []byte("again")), "put of a key that is already written, at the limit")
	e.tooLarge(tx.Put(key(store.TxOpsMax), nil), "TxOpsMax", "one put too many")
	e.tooLarge(tx.Delete(key(store.TxOpsMax)), "TxOpsMax", "one delete too many")
	_, err := tx.Sequence(e.key("counter"))
	e.tooLarge(err, "TxOpsMax", "one number too many")
	equal(e, tx.commit().Revision, before+1, "revision of the largest transaction")

	n, rev, err := e.store(1).Delete(e.ctx, e.all())
	e.noError(err, "delete of as many keys as a transaction may write")
	equal(e, n, store.TxOpsMax, "keys deleted")
	equal(e, rev, before+2, "revision of the largest delete")
}

func testLimitTxBytes(e *env) {
	const values = store.TxBytesMax / store.ValueBytesMax
	largest := bytes.Repeat([]byte("v"), store.ValueBytesMax)
	rev := e.put(0, "k")

	tx := e.begin(1)
	var err error
	for i := 0; i < values && err == nil; i++ {
		err = tx.Put(e.key(string(rune('a'+i))), largest)
	}
	if err == nil {
		_, err = tx.Commit(e.ctx)
	}
	e.tooLarge(err, "TxBytesMax", "a transaction of TxBytesMax and its keys")
	equal(e, e.revision(), rev, "revision after a transaction that was too large")

	tx = e.begin(1)
	for i := range 2 * (values - 1) { // each key twice: what is overwritten doesn't count
		e.noError(tx.Put(e.key(string(rune('a'+i%(values-1)))), largest), "put %d", i)
	}
	tx.commit()
	equal(e, e.begin(0).count(e.all()), 1+values-1, "keys after a transaction below the limit")
}

// testLimitScanBytes reads one large value as often as it takes.
func testLimitScanBytes(e *env) {
	value := bytes.Repeat([]byte("v"), store.ValueBytesMax)
	_, err := e.store(0).Put(e.ctx, store.Pair{Key: e.key("k"), Value: value})
	e.noError(err, "put")
	ranges := make([]store.Range, store.ScanBytesMax/store.ValueBytesMax)
	for i := range ranges {
		ranges[i] = store.Key(e.key("k"))
	}
	_, _, err = e.store(1).Get(e.ctx, store.Linearizable(), ranges...)
	e.tooLarge(err, "ScanBytesMax", "get of more than ScanBytesMax")
	kvs, _, err := e.store(1).Get(e.ctx, store.Linearizable(), ranges[1:]...)
	e.noError(err, "get of less than ScanBytesMax")
	equal(e, len(kvs), len(ranges)-1, "pairs of a get of less than ScanBytesMax")
	n, _, err := e.store(1).Count(e.ctx, store.Linearizable(), ranges...)
	e.noError(err, "count of more than ScanBytesMax")
	equal(e, n, len(ranges), "count of more than ScanBytesMax")
}

func testLimitWatchPrefixes(e *env) {
	prefixes := make([][]byte, store.WatchPrefixesMax+1)
	for i := range prefixes {
		prefixes[i] = e.key(string(rune('A' + i)))
	}
	after := store.Cursor{Revision: e.revision()}
	_, err := e.store(1).Watch(e.ctx, after, prefixes...)
	e.tooLarge(err, "WatchPrefixesMax", "watch of too many prefixes")

	w, err := e.store(1).Watch(e.ctx, after, prefixes[:store.WatchPrefixesMax]...)
	e.noError(err, "watch of as many prefixes as are allowed")
	defer w.Close()
	last := string(rune('A' + store.WatchPrefixesMax - 1))
	rev := e.put(0, last)
	e.noError(history{rev: {putEvent(e.key(last), "")}}.check(after.Revision, e.collect(w, rev)), "the last of the prefixes")
}
