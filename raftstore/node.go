package raftstore

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/raftstore/internal/addressbook"
	"github.com/spire-raft/spire-raft/raftstore/internal/authority"
	"github.com/spire-raft/spire-raft/raftstore/internal/disk"
	"github.com/spire-raft/spire-raft/raftstore/internal/gossip"
	"github.com/spire-raft/spire-raft/raftstore/internal/identity"
	"github.com/spire-raft/spire-raft/raftstore/internal/life"
	"github.com/spire-raft/spire-raft/raftstore/internal/logstore"
	"github.com/spire-raft/spire-raft/raftstore/internal/raftnet"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/txn"
	"github.com/spire-raft/spire-raft/transport"
	"github.com/spire-raft/spire-raft/transport/rpc"
)

var _ store.Store = (*Node)(nil)

// Node is a member of a cluster: a [store.Store] whose state is the cluster's.
// Open makes one. Its methods may be called concurrently.
type Node struct {
	*txn.Runner // Put, Get, Delete, Count, Begin and Revision

	cfg        Config
	log        *slog.Logger
	id         identity.Identity
	advertised string // where peers reach this node

	// What the node runs on. Open sets them in this order: what can be refused
	// comes before what makes a file. Close first ends what others can call:
	// gossip, raft with the transport, the clients; then every goroutine; and
	// then it releases the files, in the reverse order.
	unlock     func() error
	life       *life.Life
	own        *authority.Credentials // nil where the cluster is not its own authority
	addresses  *addressbook.Book
	disk       *disk.Watcher
	transport  *transport.Transport // takes no connection before started
	clients    *rpc.Peers
	gossip     *gossip.Gossip // nil without Config.Gossip; silent until it has a key
	machine    *machine
	logs       *logstore.Store
	writeTimes writeTimes    // of logs
	entries    raft.LogStore // logs, with its end in memory
	snapshots  *snapshotStore
	raftNet    *raftnet.Transport
	raft       *raft.Raft
	proposer   *proposer

	metrics  *metrics
	unmetric func() // undoes register

	outcomes    *outcomes // of the writes of this node
	rounds      rounds
	freshness   freshness
	leadership  leadership
	succession  succession
	peers       peers
	agreed      agreed
	disputes    disputes
	alarms      lately[string] // by what they are about
	watchers    watchers
	changes     chan struct{} // holds a token while the configuration is being changed
	trusted     trusted
	vouched     vouched
	hints       lately[hint] // that were followed up
	failedJoins joinLimiter
	adminCalls  adminLimiter
	encounters  lately[string] // with nodes of another life of the cluster; "" is all that can't prove who they are
	refusers    refusers
	rotation    rotation
	decoding    chan struct{} // holds a token for each command of a peer that is decoded

	removal      removal
	refusalLines refusalLines
	retired      sync.Once // writes the audit line of it
	admitted     bool      // consult has found that the node may start its cluster, or has joined it
	diverged     atomic.Bool

	keysInUse    atomic.Uint64 // the index of the cluster's gossip keys that gossip uses
	instanceTold string        // by gossip; belongs to followState

	handingOver atomic.Int32 // calls of TransferLeadership under way

	logGrew chan struct{} // asks compactLog to look
	reload  reload        // of raft's configuration

	notify   chan bool             // raft's news of this node's leadership
	observed chan raft.Observation // raft's news of other leaders
	observer *raft.Observer

	started  chan struct{}      // closed when raft and all that serves it run
	requests context.Context    // ends when the node begins to close, or fails
	end      context.CancelFunc // ends requests
	base     context.Context    // ends with the node
	cancel   context.CancelFunc // ends base
	running  sync.WaitGroup     // every goroutine of the node
	stopping chan struct{}      // holds a token while raft is stopped; guards stopped
	stopped  bool

	mu      sync.Mutex // guards the fields below
	closing bool
	failed  error         // why the node has stopped itself
	done    chan struct{} // closed when Close has done everything
	closed  error         // the result of Close, once done
}

// Addr is the address that the node listens on.
func (n *Node) Addr() net.Addr { return n.transport.Addr() }

// GossipAddr is the address that the node gossips on, empty without gossip.
func (n *Node) GossipAddr() string {
	if n.gossip == nil {
		return ""
	}
	return n.gossip.Addr()
}

// spawn runs fn in a goroutine that Close waits for; its context ends when Close
// begins. It returns false, and doesn't run fn, where that is so already.
func (n *Node) spawn(fn func(ctx context.Context)) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closing {
		return false
	}
	ctx := n.base
	n.running.Go(func() { fn(ctx) })
	return true
}

// bound returns a context for a request: it has a deadline, and ends when the
// node does.
func (n *Node) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	var cancel context.CancelFunc
	if _, ok := ctx.Deadline(); ok {
		ctx, cancel = context.WithCancel(ctx)
	} else {
		ctx, cancel = context.WithTimeout(ctx, n.cfg.RequestTimeout)
	}
	stop := context.AfterFunc(n.requests, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// live returns ErrFailed or ErrClosed where the node is not up.
func (n *Node) live() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.failed != nil {
		return n.failed
	}
	if n.closing {
		return store.ErrClosed
	}
	return nil
}

// failure returns why the node has stopped itself, if it has.
func (n *Node) failure() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.failed
}

// explain replaces err by the reason that the node is down, if it is.
func (n *Node) explain(err error) error {
	if live := n.live(); live != nil {
		return live
	}
	return err
}

// fail stops the node for good, after a storage error as a rule: what it would
// write or read from now on can't be trusted, nor can it know whether what it was
// writing is on disk. Requests under way end in ErrUnknownOutcome, later ones,
// reads included, in ErrFailed, until the process opens the node anew.
func (n *Node) fail(cause error) {
	why := fmt.Errorf("%w: node %s: %w; mend the cause and start it again", store.ErrFailed, n.id.NodeID, cause)
	n.halt(why, "this node stops itself", cause)
}

// halt does what fail says; callers get the error why. The first one counts.
func (n *Node) halt(why error, message string, cause error) {
	n.mu.Lock()
	if n.failed != nil || n.closing {
		n.mu.Unlock()
		return
	}
	n.failed = why
	n.mu.Unlock()

	n.log.Error(message, "error", cause)
	n.end()
	n.spawn(func(ctx context.Context) {
		n.Runner.End(why)
		select {
		case <-n.started:
			_ = n.stopRaft() // there is nobody to tell
			if n.gossip != nil {
				_ = n.gossip.Close() // what is down must not seem alive
			}
		case <-ctx.Done(): // Open has failed too
		}
	})
}
