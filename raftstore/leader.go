package raftstore

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/fsm"
)

const (
	// leaderRetryWait is how long a request that found no leader waits, at
	// most, for news of one before it tries again.
	leaderRetryWait = 20 * time.Millisecond

	// tendInterval is the time between the leader's looks at its peers.
	tendInterval = 250 * time.Millisecond
)

// leadership tells those who wait that the leader may have changed.
type leadership struct {
	mu      sync.Mutex // guards changed
	changed chan struct{}
}

// announce wakes up all who wait.
func (l *leadership) announce() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// wait returns when the leader may have changed, or after leaderRetryWait. Its
// error is the context's.
func (l *leadership) wait(ctx context.Context) error {
	l.mu.Lock()
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	changed := l.changed
	l.mu.Unlock()

	retry := time.NewTimer(leaderRetryWait)
	defer retry.Stop()
	select {
	case <-changed:
	case <-retry.C:
	case <-ctx.Done():
	}
	return ctx.Err()
}

// leaderID returns the leader that raft knows of, another node than this.
func (n *Node) leaderID() (string, error) {
	_, id := n.raft.LeaderWithID()
	switch string(id) {
	case "":
		return "", fmt.Errorf("%w, and none is known", errNotLeader)
	case n.id.NodeID:
		return "", fmt.Errorf("%w yet", errNotLeader)
	}
	return string(id), nil
}

// followLeadership starts and ends this node's terms of office as raft tells
// of them. Raft waits for its reader, so nothing here may block.
func (n *Node) followLeadership(ctx context.Context) {
	resign := func() {}
	defer func() { resign() }()
	for {
		select {
		case leading := <-n.notify:
			resign()
			resign = func() {}
			if leading {
				office, cancel := context.WithCancel(ctx)
				resign = cancel
				n.spawn(func(context.Context) { n.lead(office) })
			}
			n.leadership.announce()
		case <-n.observed:
			n.leadership.announce()
		case <-ctx.Done():
			return
		}
	}
}

// lead does the leader's work besides raft, until ctx ends with its office.
func (n *Node) lead(ctx context.Context) {
	n.peers.reset()
	if err := n.startTerm(ctx); err != nil {
		return
	}
	n.leadership.announce()
	n.adoptHistoryBudget(ctx)
	every(ctx, tendInterval, func() { n.tend(ctx) })
}

// startTerm commits the entry that shows, once applied, that this leader has
// applied everything from before its term. Read indexes wait for it.
func (n *Node) startTerm(ctx context.Context) error {
	for {
		_, err := n.proposer.propose(ctx, fsm.EncodeTermStart())
		if err == nil {
			n.log.Info("became leader", "term", n.raft.CurrentTerm())
			return nil
		}
		if n.leadership.wait(ctx) != nil {
			return err
		}
	}
}

// adoptHistoryBudget makes the configured budget the cluster's.
func (n *Node) adoptHistoryBudget(ctx context.Context) {
	budget := n.cfg.HistoryBytesMax
	if budget == 0 || budget == n.machine.Position().HistoryBudget {
		return
	}
	if _, err := n.submit(ctx, fsm.EncodeSetHistoryBudget(budget), false); err != nil {
		n.log.Warn("history budget not set", "error", err)
	}
}

// tend looks at every peer: it spreads addresses, learns health, gives votes to
// servers that have caught up, and compares state hashes.
func (n *Node) tend(ctx context.Context) {
	members := n.memberAddresses()
	var wg sync.WaitGroup
	for _, s := range n.configuration().Servers {
		id := string(s.ID)
		if id == n.id.NodeID {
			continue
		}
		wg.Go(func() {
			attempt, cancel := context.WithTimeout(ctx, n.cfg.Timing.ElectionTimeout)
			defer cancel()
			resp, err := n.probe(attempt, id, members)
			if err != nil {
				n.peers.missed(id)
				return
			}
			n.peers.seen(id, resp, n.machine.Position().Index)
			n.compareHash(id, resp)
			if s.Suffrage != raft.Voter {
				n.promote(id)
			}
		})
	}
	wg.Wait()
}

// promote gives a server a vote once it has been caught up for PromoteAfter.
func (n *Node) promote(id string) {
	if n.peers.caughtUpFor(id) < n.cfg.Timing.PromoteAfter {
		return
	}
	f := n.raft.AddVoter(raft.ServerID(id), raft.ServerAddress(id), 0, n.cfg.RequestTimeout)
	if err := f.Error(); err != nil {
		n.log.Warn("server not promoted", "node", id, "error", err)
		return
	}
	n.log.Info("server is a voter now", "node", id)
}
