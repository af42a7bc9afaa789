package storetest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/memstore"
)

// RunModel does random transactions, several of them open at a time and spread
// over the handles, on a backend and on a memstore, and compares what they
// read, which of them conflict, and the contents and history they leave behind.
//
// Each of rapid's checks works under a prefix of its own in one backend. The
// flag -rapid.checks sets how many there are, and -rapid.steps how long.
func RunModel(t *testing.T, open Open) {
	stores := open(t, Options{})
	checks := 0
	rapid.Check(t, func(rt *rapid.T) {
		checks++
		m := newModel(rt, t.Context(), stores, fmt.Sprintf("model/%d/", checks))
		defer m.close()
		rt.Repeat(map[string]func(*rapid.T){
			"begin":          m.begin,
			"tx get":         m.txGet,
			"tx scan":        m.txScan,
			"tx count":       m.txCount,
			"tx put":         m.txPut,
			"tx delete":      m.txDelete,
			"tx deleteRange": m.txDeleteRange,
			"tx sequence":    m.txSequence,
			"tx raise":       m.txRaise,
			"tx cursor":      m.txCursor,
			"tx commit":      m.txCommit,
			"tx commit too":  m.txCommit, // as likely as to begin a transaction
			"tx abort":       m.txAbort,
			"put":            m.put,
			"get":            m.get,
			"delete":         m.delete,
			"count":          m.count,
		})
		m.finish()
	})
}

// openMax bounds the transactions that are open at a time.
const openMax = 4

// model does everything twice: on the backend and on the reference.
type model struct {
	t      *rapid.T
	ctx    context.Context
	cancel context.CancelFunc
	stores []store.Store
	prefix string
	base   store.Revision // of the backend, where the reference was empty
	ref    *memstore.Store
	open   []*pairedTx
}

// pairedTx is one transaction on both.
type pairedTx struct {
	backend, ref store.Tx
}

func newModel(t *rapid.T, ctx context.Context, stores []store.Store, prefix string) *model {
	m := &model{t: t, stores: stores, prefix: prefix, ref: memstore.New(memstore.Config{})}
	m.ctx, m.cancel = context.WithTimeout(ctx, patience)
	rev, err := stores[0].Revision(m.ctx, store.Linearizable())
	if err != nil {
		t.Fatalf("revision of the backend: %v", err)
	}
	m.base = rev
	return m
}

func (m *model) close() {
	for _, tx := range m.open {
		tx.backend.Abort()
		tx.ref.Abort()
	}
	m.ref.Close()
	m.cancel()
}

// modelKeys are few, so that transactions meet. The last ones are what patched
// keys may become.
var modelKeys = []string{"a", "a\x00", "a\xff", "b", "b/1", "b/2", "c", numberKey(1), numberKey(2), numberKey(3)}

func numberKey(n uint64) string { return "s/" + string(binary.BigEndian.AppendUint64(nil, n)) }

func (m *model) key(t *rapid.T, label string) []byte {
	return []byte(m.prefix + rapid.SampledFrom(modelKeys).Draw(t, label))
}

// span draws a range of the model's keys: a key, a prefix, or what lies between
// two keys, which may be nothing.
func (m *model) span(t *rapid.T) store.Range {
	switch rapid.SampledFrom([]string{"key", "prefix", "all", "between", "after"}).Draw(t, "range") {
	case "key":
		return store.Key(m.key(t, "key"))
	case "prefix":
		return store.Prefix([]byte(m.prefix + rapid.SampledFrom([]string{"a", "b", "b/", "s/", "x"}).Draw(t, "prefix")))
	case "between":
		return store.Range{Start: m.key(t, "start"), End: m.key(t, "end")}
	case "after":
		return store.Prefix([]byte(m.prefix)).After(m.key(t, "key"))
	default:
		return store.Prefix([]byte(m.prefix))
	}
}

func (m *model) handle(t *rapid.T) store.Store {
	return m.stores[rapid.IntRange(0, len(m.stores)-1).Draw(t, "handle")]
}

// consistency draws one for the backend that has to see the newest state, as
// the reference always does.
func (m *model) consistency(t *rapid.T) store.Consistency {
	if rapid.Bool().Draw(t, "linearizable") {
		return store.Linearizable()
	}
	rev, err := m.ref.Revision(m.ctx, store.Linearizable())
	m.agree(t, "revision", nil, err)
	if m.base+rev == 0 {
		return store.Linearizable() // AtLeast(0) would take the snapshot later
	}
	return store.AtLeast(m.base + rev)
}

// tx draws an open transaction, or begins one.
func (m *model) tx(t *rapid.T) *pairedTx {
	if len(m.open) == 0 {
		m.begin(t)
	}
	return m.open[rapid.IntRange(0, len(m.open)-1).Draw(t, "tx")]
}

// forget takes tx off the open ones.
func (m *model) forget(tx *pairedTx) {
	m.open = slices.DeleteFunc(m.open, func(other *pairedTx) bool { return other == tx })
}

// outcomes are the errors that the backend and the reference must agree on.
var outcomes = []error{store.ErrConflict, store.ErrInvalid, store.ErrTooLarge, store.ErrReadOnly, store.ErrTxDone}

// agree ends the check unless both errors are of one kind. It tells whether
// there was none.
func (m *model) agree(t *rapid.T, what string, backend, ref error) bool {
	t.Helper()
	if (backend == nil) != (ref == nil) {
		t.Fatalf("%s: backend's error is %v, the model's %v", what, backend, ref)
	}
	known := ref == nil
	for _, outcome := range outcomes {
		if errors.Is(backend, outcome) != errors.Is(ref, outcome) {
			t.Fatalf("%s: backend's error is %v, the model's %v", what, backend, ref)
		}
		known = known || errors.Is(ref, outcome)
	}
	if !known {
		t.Fatalf("%s: unexpected error: %v (the model's: %v)", what, backend, ref)
	}
	return ref == nil
}

func (m *model) sameRevision(t *rapid.T, what string, backend, ref store.Revision) {
	t.Helper()
	if backend != m.base+ref {
		t.Fatalf("%s: backend's revision is %d, the model's %d + %d", what, backend, ref, m.base)
	}
}

func (m *model) samePairs(t *rapid.T, what string, backend, ref []store.KeyValue) {
	t.Helper()
	format := func(kvs []store.KeyValue, base store.Revision) []string {
		var out []string
		for _, kv := range kvs {
			if kv.ModRevision > 0 {
				kv.ModRevision -= base
			}
			out = append(out, fmt.Sprintf("%q=%q@%d", kv.Key[min(len(m.prefix), len(kv.Key)):], kv.Value, kv.ModRevision))
		}
		return out
	}
	if b, r := format(backend, m.base), format(ref, 0); !slices.Equal(b, r) {
		t.Fatalf("%s: backend has %v, the model %v", what, b, r)
	}
}

func same[T comparable](t *rapid.T, what string, backend, ref T) {
	t.Helper()
	if backend != ref {
		t.Fatalf("%s: backend has %v, the model %v", what, backend, ref)
	}
}

// finish compares the contents and the history that are left.
func (m *model) finish() {
	all := store.Prefix([]byte(m.prefix))
	want, refRev, err := m.ref.Get(m.ctx, store.Linearizable(), all)
	m.agree(m.t, "final get of the model", nil, err)
	history := m.history(m.ref, 0, refRev)
	for i, s := range m.stores {
		got, rev, err := s.Get(m.ctx, store.Linearizable(), all)
		m.agree(m.t, "final get", err, nil)
		m.sameRevision(m.t, "final get", rev, refRev)
		m.samePairs(m.t, fmt.Sprintf("final contents through handle %d", i), got, want)

		for j, b := range m.history(s, m.base, rev) {
			what := fmt.Sprintf("batch %d of the history through handle %d", j, i)
			if j >= len(history) {
				m.t.Fatalf("%s: %v at revision %d, which the model has not", what, formatEvents(b.Events), b.Cursor.Revision)
			}
			m.sameRevision(m.t, what, b.Cursor.Revision, history[j].Cursor.Revision)
			if err := sameEvents(b.Events, history[j].Events); err != nil {
				m.t.Fatalf("%s: %v", what, err)
			}
		}
	}
}

// history returns the batches of the revisions after one until another.
func (m *model) history(s store.Store, after, until store.Revision) []store.Batch {
	if after == until {
		return nil
	}
	w, err := s.Watch(m.ctx, store.Cursor{Revision: after}, []byte(m.prefix))
	m.agree(m.t, "watch", err, nil)
	defer w.Close()
	batches, err := collect(m.ctx, w, until)
	m.agree(m.t, "watch", err, nil)
	return eventful(batches)
}
