package datastoretest

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/spire-raft/spire-raft/datastore"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// plant stores objects as the layout of records says, in one transaction and
// without a DataStore, which would refuse some.
func plant[T any](e *env, kind *records.Kind[T], objects ...T) {
	e.Helper()
	_, err := store.Update(e.ctx(), e.stores[0], func(tx store.Tx) error {
		for _, object := range objects {
			if err := plantIn(tx, kind, object); err != nil {
				return err
			}
		}
		return nil
	})
	e.succeeds(err)
}

func plantIn[T any](tx store.Tx, kind *records.Kind[T], object T) error {
	value, err := kind.Encode(records.Item[T]{Object: object})
	if err != nil {
		return err
	}
	number, err := tx.Sequence(kind.Counter())
	if err != nil {
		return err
	}
	patch := store.Patch{Sequence: number, Target: store.PatchValue}
	if err := tx.Put(kind.Key(kind.ID(object)), value, patch); err != nil {
		return err
	}
	for _, r := range kind.Indexes(object) {
		key, offset := kind.UnnumberedIndexKey(r)
		patch := store.Patch{Sequence: number, Target: store.PatchKey, Offset: offset}
		if err := tx.Put(key, []byte(r.Data), patch); err != nil {
			return err
		}
	}
	return nil
}

// damage replaces the stored value of an object by one that doesn't decode.
func damage[T any](e *env, kind *records.Kind[T], id string) {
	e.Helper()
	_, err := e.stores[0].Put(e.ctx(), store.Pair{Key: kind.Key(id), Value: []byte("damaged!\xff\xff")})
	e.succeeds(err)
}

// has tells whether an object is stored.
func has[T any](e *env, kind *records.Kind[T], id string) bool {
	e.Helper()
	found := false
	err := store.View(e.ctx(), e.stores[0], store.Linearizable(), func(tx store.Tx) (err error) {
		_, found, err = tx.Get(e.ctx(), kind.Key(id))
		return err
	})
	e.succeeds(err)
	return found
}

// keyCount is how many keys there are: what is deleted must leave none.
func (e *env) keyCount() int {
	e.Helper()
	n, _, err := e.stores[0].Count(e.ctx(), store.Linearizable(), store.Range{})
	e.succeeds(err)
	return n
}

// between returns one more DataStore, whose first transaction that writes begins
// after hook has run. What prunes looks for what to prune before.
func (e *env) between(hook func()) *datastore.DataStore {
	e.Helper()
	hooked := &hookedStore{Store: e.stores[0], hook: hook}
	d, err := datastore.New(hooked, e.configs[0])
	e.succeeds(err)
	e.Cleanup(func() { e.succeeds(d.Close()) })
	return d
}

type hookedStore struct {
	store.Store

	once sync.Once
	hook func()
}

// Begin implements [store.Store].
func (s *hookedStore) Begin(ctx context.Context, opts store.TxOptions) (store.Tx, error) {
	if !opts.ReadOnly {
		s.once.Do(s.hook)
	}
	return s.Store.Begin(ctx, opts)
}

// logging returns one more DataStore, and what it logs.
func (e *env) logging() (*datastore.DataStore, *logLines) {
	e.Helper()
	lines := &logLines{}
	cfg := e.configs[0]
	cfg.Logger = slog.New(lines)
	d, err := datastore.New(e.stores[0], cfg)
	e.succeeds(err)
	e.Cleanup(func() { e.succeeds(d.Close()) })
	return d, lines
}

// logLines is a [slog.Handler] that keeps lines such as "INFO message key=value".
type logLines struct {
	mu    sync.Mutex // guards lines
	lines []string
}

// Enabled implements [slog.Handler].
func (l *logLines) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements [slog.Handler].
func (l *logLines) Handle(_ context.Context, r slog.Record) error {
	var line strings.Builder
	fmt.Fprintf(&line, "%v %s", r.Level, r.Message)
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&line, " %s=%v", a.Key, a.Value)
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line.String())
	return nil
}

// WithAttrs implements [slog.Handler]. The DataStore has no use for it.
func (l *logLines) WithAttrs([]slog.Attr) slog.Handler { return l }

// WithGroup implements [slog.Handler]. The DataStore has no use for it.
func (l *logLines) WithGroup(string) slog.Handler { return l }

// take returns the lines since it was last called.
func (l *logLines) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := l.lines
	l.lines = nil
	return lines
}
