package check

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/client"
	"github.com/spire-raft/spire-raft/store"
)

// Ledger is what the writers know of their writes. Its methods may be called
// concurrently.
type Ledger struct {
	mu      sync.Mutex // guards the fields below
	writes  map[string]write
	counts  Counts
	acked   map[string]int // by server
	waiters map[*waiter]struct{}
}

// write is what is known of one write. Until its outcome is noted it is
// ambiguous, which is what a writer that never learns of it makes it.
type write struct {
	via      string    // the server it was sent to
	sent     time.Time // about when
	outcome  client.Outcome
	revision store.Revision // of an acknowledged one
}

// Counts are how many writes had which outcome.
type Counts struct {
	Acknowledged, Failed, Ambiguous int
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger {
	return &Ledger{writes: make(map[string]write), acked: make(map[string]int), waiters: make(map[*waiter]struct{})}
}

// Begin notes that the write id is about to be sent to the server via. An id is
// used once.
func (l *Ledger) Begin(id, via string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, dup := l.writes[id]; dup {
		panic(fmt.Sprintf("write %q begins twice", id))
	}
	l.writes[id] = write{via: via, sent: time.Now(), outcome: client.Ambiguous}
	l.counts.Ambiguous++
}

// End notes the outcome of a write that began at the given time. The revision
// counts for acknowledged ones only.
func (l *Ledger) End(id string, begun time.Time, o client.Outcome, rev store.Revision) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.writes[id]
	w.outcome, w.revision = o, rev
	l.writes[id] = w
	switch o {
	case client.Acknowledged:
		l.counts.Ambiguous--
		l.counts.Acknowledged++
		l.acked[w.via]++
		l.wake(begun)
	case client.Failed:
		l.counts.Ambiguous--
		l.counts.Failed++
	case client.Ambiguous: // as it was
	}
}

// Sent returns when the write id was sent, and to which server. It is false for
// a write that is not known.
func (l *Ledger) Sent(id string) (at time.Time, via string, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w, ok := l.writes[id]
	return w.sent, w.via, ok
}

// Counts returns how many writes had which outcome so far. Those under way
// count as ambiguous.
func (l *Ledger) Counts() Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts
}

// AcknowledgedVia returns how many writes a server has acknowledged so far.
func (l *Ledger) AcknowledgedVia(server string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked[server]
}

// waiter waits for the first acknowledged write that began at or after a time.
type waiter struct {
	after time.Time
	acked chan time.Time
}

// WaitAck waits for a write that began at or after the given time to be
// acknowledged and returns when it was.
func (l *Ledger) WaitAck(ctx context.Context, after time.Time) (time.Time, error) {
	w := &waiter{after: after, acked: make(chan time.Time, 1)}
	l.mu.Lock()
	l.waiters[w] = struct{}{}
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.waiters, w)
		l.mu.Unlock()
	}()
	select {
	case at := <-w.acked:
		return at, nil
	case <-ctx.Done():
		return time.Time{}, fmt.Errorf("no write is acknowledged: %w", context.Cause(ctx))
	}
}

// wake tells those who wait for a write that began then. The caller holds mu.
func (l *Ledger) wake(begun time.Time) {
	for w := range l.waiters {
		if !begun.Before(w.after) {
			w.acked <- time.Now()
			delete(l.waiters, w)
		}
	}
}
