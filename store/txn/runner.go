package txn

import (
	"context"
	"sync"
	"time"

	"github.com/spire-raft/spire-raft/store"
)

var _ store.Transactor = (*Runner)(nil)

// Runner begins transactions for a backend, keeps track of the open ones, and
// does the one-shot verbs with them. Embed one in a backend to implement all
// of [store.Store] but Watch and Close.
type Runner struct {
	snapshot SnapshotFunc
	commit   CommitFunc

	mu     sync.Mutex // guards the fields below
	open   map[*Tx]struct{}
	closed error
}

// NewRunner returns a runner over a backend's snapshots and commits.
func NewRunner(snapshot SnapshotFunc, commit CommitFunc) *Runner {
	return &Runner{snapshot: snapshot, commit: commit, open: make(map[*Tx]struct{})}
}

// Begin implements [store.Store]. The snapshot is taken at once where it may
// have to wait or be refused, else at the first read, so that a transaction
// that only writes needs none.
func (r *Runner) Begin(ctx context.Context, opts store.TxOptions) (store.Tx, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	t := &Tx{runner: r, opts: opts}
	t.mu.Lock()
	defer t.mu.Unlock()
	r.mu.Lock()
	if r.closed != nil {
		r.mu.Unlock()
		return nil, r.closed
	}
	r.open[t] = struct{}{}
	r.mu.Unlock()

	if opts.Consistency != store.AtLeast(0) {
		if err := t.open(ctx); err != nil {
			t.end(store.ErrTxDone)
			return nil, err
		}
	}
	// Only now: the wait for a snapshot is no time that the transaction is open.
	t.expiry = time.AfterFunc(store.TxDurationMax, func() { t.finish(store.ErrTxExpired) })
	return t, nil
}

// Revision implements [store.Store].
func (r *Runner) Revision(ctx context.Context, c store.Consistency) (store.Revision, error) {
	return r.view(ctx, c, func(store.Tx) error { return nil })
}

// End aborts every open transaction and refuses further ones, which end in
// why. It may be called again; the first reason stays.
func (r *Runner) End(why error) {
	r.mu.Lock()
	if r.closed == nil {
		r.closed = why
	}
	open := make([]*Tx, 0, len(r.open))
	for t := range r.open {
		open = append(open, t)
	}
	r.mu.Unlock()
	for _, t := range open {
		t.finish(why)
	}
}

func (r *Runner) forget(t *Tx) {
	r.mu.Lock()
	delete(r.open, t)
	r.mu.Unlock()
}
