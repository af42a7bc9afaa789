package raftstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/fsm"
	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/transport"
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
	base context.Context // the node's

	mu      sync.Mutex // guards the fields below
	changed chan struct{}
	leader  string             // that was known last
	reign   context.Context    // ends when another leader is known
	depose  context.CancelFunc // ends reign
}

// recognize notes who leads, or that nobody is known to, and wakes up all who
// wait.
func (l *leadership) recognize(leader string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if leader != "" && leader != l.leader {
		if l.depose != nil {
			l.depose()
		}
		l.leader = leader
		l.reign, l.depose = context.WithCancel(l.base)
	}
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// answerGrace is how long a leader that was succeeded may still take to answer
// a request: it may have been done before.
const answerGrace = 250 * time.Millisecond

// under returns a context for a request to leader. It ends soon after another
// leader is known, since one that hangs may never answer.
func (l *leadership) under(ctx context.Context, leader string) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leader != leader {
		return ctx, cancel // the news of this one is still on its way
	}
	stop := context.AfterFunc(l.reign, func() { time.AfterFunc(answerGrace, cancel) })
	return ctx, func() {
		stop()
		cancel()
	}
}

// announce wakes up all who wait.
func (l *leadership) announce() { l.recognize("") }

// next is closed when the leader may have changed.
func (l *leadership) next() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	return l.changed
}

// wait returns when the leader may have changed, or after leaderRetryWait. Its
// error is the context's.
func (l *leadership) wait(ctx context.Context) error {
	wait(ctx, l.next(), leaderRetryWait)
	return ctx.Err()
}

// leaderID returns the leader that raft knows of, another node than this.
func (n *Node) leaderID() (string, error) {
	_, id := n.raft.LeaderWithID()
	voters, _ := n.otherVoters()
	return checkLeader(string(id), n.id.NodeID, voters)
}

// checkLeader returns the id of a leader that may be asked. One without a vote
// in the newest configuration can't lead, whatever it claims: nobody sends it
// writes or believes its reads.
func checkLeader(id, self string, otherVoters []string) (string, error) {
	switch {
	case id == "":
		return "", fmt.Errorf("%w, and none is known", errNotLeader)
	case id == self:
		return "", fmt.Errorf("%w yet", errNotLeader)
	case !slices.Contains(otherVoters, id):
		return "", fmt.Errorf("%w: node %s claims to be it, but is no voter that this node knows of", errNotLeader, id)
	}
	return id, nil
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
			n.recognizeLeader()
		case <-n.observed:
			n.recognizeLeader()
		case <-ctx.Done():
			return
		}
	}
}

func (n *Node) recognizeLeader() {
	_, id := n.raft.LeaderWithID()
	n.leadership.recognize(string(id))
}

// lead does the leader's work besides raft, until ctx ends with its office.
func (n *Node) lead(ctx context.Context) {
	n.peers.reset()
	if err := n.startTerm(ctx); err != nil {
		return
	}
	n.leadership.announce()
	n.adoptHistoryBudget(ctx)
	n.spawn(func(context.Context) { n.turnGossipKeys(ctx) })
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
	if _, err := n.proposer.propose(ctx, fsm.EncodeSetHistoryBudget(budget)); err != nil {
		n.log.Warn("history budget not set", "error", err)
	}
}

// tend looks at every peer: it spreads addresses, learns health, compares state
// hashes, and has the configuration brought in order.
func (n *Node) tend(ctx context.Context) {
	members := n.memberAddresses()
	var servers []answered
	for _, s := range n.configuration().Servers {
		if string(s.ID) != n.id.NodeID {
			servers = append(servers, answered{server: s})
		}
	}
	var wg sync.WaitGroup
	for i := range servers {
		wg.Go(func() { servers[i].resp = n.lookAt(ctx, servers[i].server, members) })
	}
	wg.Wait()
	n.judge(servers)
	n.spawn(func(ctx context.Context) {
		n.arrange(ctx)
		n.rotate(ctx)
	})
}

// lookAt probes one server and notes what it tells. It returns nil where that is
// nothing.
func (n *Node) lookAt(ctx context.Context, s raft.Server, members []*peerv1.Member) *peerv1.ProbeResponse {
	attempt, cancel := context.WithTimeout(ctx, n.cfg.Timing.ElectionTimeout)
	defer cancel()
	id := string(s.ID)
	resp, err := n.probe(attempt, id, members)
	if refused := errors.Is(err, transport.ErrNotAuthorized); refused || err == nil {
		n.offerWord(id, refused, resp.GetLastLogIndex())
	}
	if err != nil {
		n.peers.missed(id)
		return nil
	}
	n.peers.seen(id, s.Suffrage == raft.Voter, resp, n.machine.Position().Index)
	return resp
}

// arrange brings the configuration in order: servers that have been caught up
// get their vote, and removals that another leader began are finished. It does
// nothing while somebody else changes the configuration.
func (n *Node) arrange(ctx context.Context) {
	select {
	case n.changes <- struct{}{}:
		defer n.changed()
	default:
		return
	}
	for _, s := range n.configuration().Servers {
		id := string(s.ID)
		removed, err := n.removed(id)
		switch {
		case err != nil || n.live() != nil || n.raft.State() != raft.Leader:
			return
		case removed && id == n.id.NodeID:
			// The next leader drops this one. That needs the right to change
			// the configuration, but handing over doesn't.
			n.spawn(n.resign)
		case removed:
			if err := n.dropServer(ctx, id); err != nil {
				n.log.Warn("removal not finished", "server", id, "error", err)
			}
		case !removed && s.Suffrage != raft.Voter:
			n.promote(ctx, id)
		}
	}
}

// resign hands over leadership that this node should not have: it was removed.
func (n *Node) resign(ctx context.Context) {
	if n.handingOver.Load() > 0 {
		return
	}
	if err := n.TransferLeadership(ctx); err != nil {
		n.log.Warn("this node is removed, but leads: nobody takes over", "error", err)
	}
}

// promote gives a server a vote once it has been caught up for PromoteAfter. The
// caller holds the right to change the configuration.
func (n *Node) promote(ctx context.Context, id string) {
	if n.peers.caughtUpFor(id) < n.cfg.Timing.PromoteAfter {
		return
	}
	f := n.raft.AddVoter(raft.ServerID(id), raft.ServerAddress(id), 0, n.cfg.RequestTimeout)
	err := changeError(f)
	n.auditDone(ctx, auditServerPromoted, err, slog.String("server", id))
	if err != nil {
		n.log.Warn("server not promoted", "server", id, "error", err)
	}
}
