package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/store"
)

// patience bounds how long a test waits for what must come.
const patience = time.Minute

// env is what a test works with: handles on the store and a prefix of its own.
// Keys are strings, and without the prefix.
type env struct {
	*testing.T

	ctx    context.Context
	stores []store.Store
	prefix string
}

func newEnv(t *testing.T, stores []store.Store) *env {
	t.Helper()
	if len(stores) == 0 {
		t.Fatal("the backend has no handles")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	name := t.Name()
	return &env{T: t, ctx: ctx, stores: stores, prefix: name[strings.LastIndexByte(name, '/')+1:] + "/"}
}

// store returns handle i, counting round.
func (e *env) store(i int) store.Store { return e.stores[i%len(e.stores)] }

func (e *env) key(k string) []byte { return []byte(e.prefix + k) }

// all is the range of the test's keys.
func (e *env) all() store.Range { return store.Prefix(e.key("")) }

// span is the range from key from to before key to.
func (e *env) span(from, to string) store.Range {
	return store.Range{Start: e.key(from), End: e.key(to)}
}

// noError ends the test on an error, after saying what was done.
func (e *env) noError(err error, format string, args ...any) {
	e.Helper()
	if err != nil {
		e.Fatalf("%s: %v", fmt.Sprintf(format, args...), err)
	}
}

// isError reports an error that is not the wanted one.
func (e *env) isError(err, want error, format string, args ...any) {
	e.Helper()
	if !errors.Is(err, want) {
		e.Errorf("%s: got error %v, want %v", fmt.Sprintf(format, args...), err, want)
	}
}

// equal reports a difference.
func equal[T comparable](e *env, got, want T, format string, args ...any) {
	e.Helper()
	if got != want {
		e.Errorf("%s: got %v, want %v", fmt.Sprintf(format, args...), got, want)
	}
}

// equalList reports a difference between lists written as "a b c".
func (e *env) equalList(got []string, want string, format string, args ...any) {
	e.Helper()
	if !slices.Equal(got, strings.Fields(want)) {
		e.Errorf("%s: got %q, want %q", fmt.Sprintf(format, args...), strings.Join(got, " "), want)
	}
}

// revision returns the newest revision.
func (e *env) revision() store.Revision {
	e.Helper()
	rev, err := e.store(0).Revision(e.ctx, store.Linearizable())
	e.noError(err, "revision")
	return rev
}

// put puts pairs written as "key=value", or "key" for an empty value, through
// handle i, in one transaction.
func (e *env) put(i int, pairs ...string) store.Revision {
	e.Helper()
	rev, err := e.store(i).Put(e.ctx, e.pairs(pairs)...)
	e.noError(err, "put %q through handle %d", pairs, i)
	return rev
}

func (e *env) pairs(pairs []string) []store.Pair {
	var out []store.Pair
	for _, p := range pairs {
		key, value, _ := strings.Cut(p, "=")
		out = append(out, store.Pair{Key: e.key(key), Value: []byte(value)})
	}
	return out
}

// delete deletes keys through handle i, in one transaction.
func (e *env) delete(i int, keys ...string) store.Revision {
	e.Helper()
	var ranges []store.Range
	for _, k := range keys {
		ranges = append(ranges, store.Key(e.key(k)))
	}
	_, rev, err := e.store(i).Delete(e.ctx, ranges...)
	e.noError(err, "delete %q through handle %d", keys, i)
	return rev
}

// get reads ranges through handle i. It returns pairs as "key=value".
func (e *env) get(i int, ranges ...store.Range) []string {
	e.Helper()
	kvs, _, err := e.store(i).Get(e.ctx, store.Linearizable(), ranges...)
	e.noError(err, "get through handle %d", i)
	return e.format(kvs)
}

// format writes pairs as "key=value", or "key" where the value is empty.
func (e *env) format(kvs []store.KeyValue) []string {
	var out []string
	for _, kv := range kvs {
		key, mine := strings.CutPrefix(string(kv.Key), e.prefix)
		if !mine {
			key = "(foreign)" + key
		}
		if len(kv.Value) > 0 {
			key += "=" + string(kv.Value)
		}
		out = append(out, key)
	}
	return out
}

// tx is a transaction whose reads end the test on an error.
type tx struct {
	store.Tx
	e *env
}

// begin starts a linearizable transaction through handle i.
func (e *env) begin(i int) *tx {
	e.Helper()
	return e.beginWith(i, store.TxOptions{})
}

func (e *env) beginWith(i int, opts store.TxOptions) *tx {
	e.Helper()
	t, err := e.store(i).Begin(e.ctx, opts)
	e.noError(err, "begin through handle %d", i)
	e.Cleanup(t.Abort)
	return &tx{Tx: t, e: e}
}

// get returns the value of key, or "-" where there is none.
func (t *tx) get(key string) string {
	t.e.Helper()
	kv, found, err := t.Get(t.e.ctx, t.e.key(key))
	t.e.noError(err, "tx get %q", key)
	if !found {
		return "-"
	}
	return string(kv.Value)
}

// scan returns pairs as "key=value".
func (t *tx) scan(r store.Range, limit int) []string {
	t.e.Helper()
	kvs, err := t.Scan(t.e.ctx, r, limit)
	t.e.noError(err, "tx scan")
	return t.e.format(kvs)
}

func (t *tx) count(r store.Range) int {
	t.e.Helper()
	n, err := t.Count(t.e.ctx, r)
	t.e.noError(err, "tx count")
	return n
}

func (t *tx) deleteRange(r store.Range) int {
	t.e.Helper()
	n, err := t.DeleteRange(t.e.ctx, r)
	t.e.noError(err, "tx delete range")
	return n
}

// put puts pairs written as "key=value".
func (t *tx) put(pairs ...string) {
	t.e.Helper()
	for _, p := range t.e.pairs(pairs) {
		t.e.noError(t.Put(p.Key, p.Value), "tx put %q", p.Key)
	}
}

func (t *tx) delete(keys ...string) {
	t.e.Helper()
	for _, k := range keys {
		t.e.noError(t.Delete(t.e.key(k)), "tx delete %q", k)
	}
}

// sequence takes a number of counter and puts it in place of the last 8 bytes
// of the key that begins with key.
func (t *tx) sequence(counter, key string) store.Sequence {
	t.e.Helper()
	seq, err := t.Sequence(t.e.key(counter))
	t.e.noError(err, "tx sequence %q", counter)
	t.e.noError(t.Put(withPlaceholder(t.e.key(key)), nil, patchKeyEnd(t.e.key(key), seq)), "tx put %q with a number", key)
	return seq
}

func (t *tx) cursor() store.Cursor {
	t.e.Helper()
	c, err := t.Cursor(t.e.ctx)
	t.e.noError(err, "tx cursor")
	return c
}

func (t *tx) commit() store.Result {
	t.e.Helper()
	res, err := t.Commit(t.e.ctx)
	t.e.noError(err, "commit")
	return res
}

// withPlaceholder appends room for a sequence number to key.
func withPlaceholder(key []byte) []byte {
	return append(slices.Clone(key), make([]byte, store.PatchSize)...)
}

// patchKeyEnd patches the placeholder behind key.
func patchKeyEnd(key []byte, seq store.Sequence) store.Patch {
	return store.Patch{Sequence: seq, Target: store.PatchKey, Offset: len(key)}
}
