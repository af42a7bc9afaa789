package raftstore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/raftstore/internal/simtest"
	"github.com/spire-raft/spire-raft/store"
)

// The keys of the load.
const (
	registers   = "register/"
	counters    = "counter/"
	accounts    = "account/"
	slots       = "slot/"   // the next one is as many as there are
	marks       = "mark/"   // of transactions that only delete, or just write
	numbered    = "number/" // followed by a sequence number
	sequence    = "number"
	registerMax = 8
	counterMax  = 2
	accountMax  = 4
	slotMax     = 12
	balance     = 100 // of each account at the beginning
)

// load is clients and watchers at work on a cluster.
type load struct {
	*sim
	recorder simtest.Recorder
	streams  []*simtest.Stream
	seed     uint64
	ids      atomic.Uint64

	clients context.Context // ends when no more operations begin
	end     context.CancelFunc
	working chan struct{} // closed when all clients have ended
}

// startLoad starts clients on every node, and watchers that wander between
// nodes.
func (s *sim) startLoad(seed uint64, clients int) *load {
	s.tb.Helper()
	l := &load{sim: s, seed: seed, working: make(chan struct{})}
	l.clients, l.end = context.WithCancel(s.ctx)
	first := &client{load: l, rng: rand.New(rand.NewPCG(seed, 0))}
	if err := first.do(s.node(0), operation{kind: "open accounts", run: openAccounts}); err != nil {
		s.tb.Fatal(err)
	}
	for _, prefixes := range [][][]byte{nil, nil, {[]byte(accounts), []byte(counters)}} {
		l.watch(prefixes...)
	}
	done := make(chan struct{}, clients)
	for i := range clients {
		c := &client{load: l, home: i, rng: rand.New(rand.NewPCG(seed, uint64(i+1)))}
		s.work.Go(func() {
			c.run()
			done <- struct{}{}
		})
	}
	s.work.Go(func() {
		defer close(l.working)
		for range clients {
			<-done
		}
	})
	return l
}

// finish ends the load and waits until the cluster is settled and every watcher
// has everything, then checks all that was seen.
func (l *load) finish() {
	l.tb.Helper()
	l.end()
	<-l.working
	history := l.settled()
	l.within(convergeMax, "watchers have everything", func() error {
		for i, s := range l.streams {
			if got := s.Cursor().Revision; int(got) < len(history) {
				return fmt.Errorf("watcher %d is at revision %d of %d", i, got, len(history))
			}
		}
		return nil
	})
	l.check(history)
}

func (l *load) check(history []store.Batch) {
	l.tb.Helper()
	ops := l.recorder.Ops()
	report := func(err error) {
		if err != nil {
			l.tb.Error(err)
		}
	}
	report(simtest.Check(history, ops))
	report(simtest.CheckSequence(history, numbered))
	report(simtest.CheckInvariant(history, sumIsKept))
	for _, s := range l.streams {
		report(s.Check(history))
	}
	for _, o := range ops {
		report(expected(o))
	}
}

// expected returns the error of an operation that the contract doesn't have.
func expected(o *simtest.Op) error {
	wrote := len(o.Puts)+len(o.Deletes) > 0 || o.Counter != ""
	if !wrote && errors.Is(o.Err, store.ErrUnknownOutcome) {
		return fmt.Errorf("nothing was written, yet the outcome is unknown: %v", o)
	}
	for _, e := range []error{
		nil, store.ErrNoLeader, store.ErrUnknownOutcome, store.ErrConflict, store.ErrStale, store.ErrClosed,
		store.ErrFailed, store.ErrTxExpired, context.DeadlineExceeded, context.Canceled, raftstore.ErrNotMember,
	} {
		if errors.Is(o.Err, e) {
			return nil
		}
	}
	return fmt.Errorf("unexpected error: %v", o)
}

func sumIsKept(state map[string][]byte) error {
	sum, n := 0, 0
	for i := range accountMax {
		if v, ok := state[accounts+strconv.Itoa(i)]; ok {
			b, err := strconv.Atoi(simtest.Payload(v))
			if err != nil {
				return err
			}
			sum += b
			n++
		}
	}
	if n != accountMax || sum != accountMax*balance {
		return fmt.Errorf("%d accounts hold %d, want %d and %d", n, sum, accountMax, accountMax*balance)
	}
	return nil
}

// watch starts a watcher that resumes on another node whenever it loses its
// own, and now and then without need.
func (l *load) watch(prefixes ...[]byte) {
	s := &simtest.Stream{Prefixes: prefixes}
	s.Restart(store.Cursor{})
	l.streams = append(l.streams, s)
	rng := rand.New(rand.NewPCG(l.seed, uint64(1000+len(l.streams))))
	l.work.Go(func() {
		for l.ctx.Err() == nil {
			if n := l.node(rng.IntN(l.size())); n != nil {
				l.follow(n, s, time.Duration(rng.Int64N(int64(4*time.Second))))
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
}

// follow watches on one node for a while, or until it ends. Where the history
// is gone it lists and begins anew.
func (l *load) follow(n *raftstore.Node, s *simtest.Stream, d time.Duration) {
	ctx, cancel := context.WithTimeout(l.ctx, d)
	defer cancel()
	w, err := n.Watch(ctx, s.Cursor(), s.Prefixes...)
	if err == nil {
		defer w.Close()
		for err == nil {
			var b store.Batch
			if b, err = w.Next(ctx); err == nil {
				s.Add(b)
			}
		}
	}
	if errors.Is(err, store.ErrCompacted) {
		// Whatever the node has: its cursor may be older than the stream's.
		_ = store.View(ctx, n, store.AtLeast(s.Cursor().Revision), func(tx store.Tx) error {
			at, err := tx.Cursor(ctx)
			if err == nil {
				s.Restart(at)
			}
			return err
		})
	}
}

// client does one operation after the other. One goroutine uses it.
type client struct {
	*load
	home int // the node it prefers
	rng  *rand.Rand
	last store.Revision // that it has seen
}

func (c *client) run() {
	for c.clients.Err() == nil {
		i := c.home % c.size()
		if c.rng.IntN(4) == 0 {
			i = c.rng.IntN(c.size())
		}
		if n := c.node(i); n != nil {
			_ = c.do(n, c.pick())
		}
		time.Sleep(time.Duration(c.rng.Int64N(int64(40 * time.Millisecond))))
	}
}

// do runs an operation and records it.
func (c *client) do(n *raftstore.Node, what operation) error {
	op := &simtest.Op{ID: fmt.Sprintf("op-%d", c.ids.Add(1)), Node: n.Status().NodeID, Process: n, Kind: what.kind}
	ctx, cancel := context.WithTimeout(c.ctx, 300*time.Millisecond+time.Duration(c.rng.Int64N(int64(3*time.Second))))
	defer cancel()
	c.recorder.Begin(op)
	revision, err := what.run(ctx, c, n, op)
	c.recorder.End(op, revision, err)
	if err == nil {
		c.last = max(c.last, revision)
	}
	return err
}

func (c *client) pick() operation {
	total := 0
	for _, o := range operations {
		total += o.weight
	}
	at := c.rng.IntN(total)
	for _, o := range operations {
		if at -= o.weight; at < 0 {
			return o
		}
	}
	panic("unreachable: the weights add up")
}
