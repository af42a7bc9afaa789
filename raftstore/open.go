package raftstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/fsm"
	"github.com/spire-raft/spire-raft/raftstore/internal/addressbook"
	"github.com/spire-raft/spire-raft/raftstore/internal/disk"
	"github.com/spire-raft/spire-raft/raftstore/internal/gossip"
	"github.com/spire-raft/spire-raft/raftstore/internal/hclogslog"
	"github.com/spire-raft/spire-raft/raftstore/internal/identity"
	"github.com/spire-raft/spire-raft/raftstore/internal/logstore"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/txn"
	"github.com/spire-raft/spire-raft/transport"
)

// Files of a data directory besides the identity, the address book and the
// machine's.
const (
	logFile  = "raft.db"
	leftFile = "left"
)

// Identity names the cluster and the node that a data directory belongs to.
type Identity struct {
	ClusterID string
	NodeID    string
}

// Init makes dir the data directory of a node, and returns its identity. Empty
// ids are generated. A node id belongs to one disk: never give the id of a
// disk that was lost to a new one, which would break promises that the old one
// made. Init does nothing where dir has that identity already, and refuses
// where it has another, or data without one.
func Init(dir, clusterID, nodeID string) (Identity, error) {
	id, err := identity.Create(dir, clusterID, nodeID)
	if err != nil {
		return Identity{}, err
	}
	return Identity{ClusterID: id.ClusterID, NodeID: id.NodeID}, nil
}

// Open starts the node of cfg.Dir. It returns when the node is running, with
// Config.Bootstrap when it leads, with Config.Join when the cluster has taken
// it in; ctx bounds that. A node that belongs to a cluster already opens
// without any of its peers: its requests then wait for a leader.
//
// Errors name what is wrong and what helps: a directory that is locked,
// damaged, of another cluster or of a newer format, credentials that don't fit
// it, an address in use, a refused token.
func Open(ctx context.Context, cfg Config) (_ *Node, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	n := &Node{
		cfg:      cfg,
		log:      cfg.Logger,
		metrics:  newMetrics(),
		notify:   make(chan bool, 16),
		observed: make(chan raft.Observation, 16),
		started:  make(chan struct{}),
		changes:  make(chan struct{}, 1),
		done:     make(chan struct{}),
	}
	n.base, n.cancel = context.WithCancel(context.WithoutCancel(ctx))
	n.requests, n.end = context.WithCancel(n.base)
	n.leadership.base = n.base
	n.rounds = rounds{confirm: n.confirm, spawn: n.spawn}
	n.Runner = txn.NewRunner(n.snapshot, n.commit)

	if err := n.openDir(); err != nil {
		n.cancel()
		return nil, errors.Join(err, n.release())
	}
	if err := n.openNetwork(ctx); err != nil {
		n.cancel()
		return nil, errors.Join(err, n.release())
	}
	if err := n.startRaft(); err != nil {
		n.cancel()
		n.clients.Close()
		if n.gossip != nil {
			err = errors.Join(err, n.gossip.Close())
		}
		return nil, errors.Join(err, n.transport.Close(), n.release())
	}
	// From here on the node runs, and Close undoes everything.
	if err := n.enter(ctx); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// openDir opens the data directory and all that is in it.
func (n *Node) openDir() (err error) {
	dir := n.cfg.Dir
	if n.id, err = identity.Load(dir); err != nil {
		return err
	}
	if n.unlock, err = identity.Lock(dir); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, leftFile)); err == nil {
		return fmt.Errorf("data directory %s: %w", dir, ErrRemoved)
	}
	n.log = n.log.With("node", n.id.NodeID)
	n.logs, err = logstore.Open(logstore.Options{Path: filepath.Join(dir, logFile), OnFailure: n.fail, Wrap: n.guardLog})
	if err != nil {
		return err
	}
	m, err := fsm.Open(fsm.Options{Dir: dir, ClusterID: n.id.ClusterID, Log: n.log})
	if err != nil {
		return err
	}
	n.machine = &machine{Machine: m, onFailure: n.fail, onConfiguration: n.configured}
	if err := n.checkLog(); err != nil {
		return err
	}
	n.addresses = addressbook.Open(dir, n.log)
	n.disk, err = disk.Watch(disk.Config{
		Dir:          dir,
		ReserveBytes: n.cfg.Disk.ReserveBytes,
		Free:         n.cfg.Disk.Free,
		Log:          n.log,
	})
	return err
}

// keyCurrentTerm is where raft keeps its term in the log store.
var keyCurrentTerm = []byte("CurrentTerm")

// checkLog returns ErrCorrupt where the log is not the one of the state, or
// entries are missing between the two: one of them was replaced or lost.
func (n *Node) checkLog() error {
	first, err := n.logs.FirstIndex()
	if err != nil {
		return err
	}
	at := n.machine.Position().Index
	if _, err := n.logs.GetUint64(keyCurrentTerm); err != nil && at > 0 {
		return fmt.Errorf("%w: the state is at index %d, but the log %s is lost, and with it whom this node voted for; delete the data directory and join again with a new node id",
			store.ErrCorrupt, at, filepath.Join(n.cfg.Dir, logFile))
	}
	if first > at+1 {
		return fmt.Errorf("%w: the log begins at index %d, but the state ends at %d; delete the data directory and join again with a new node id",
			store.ErrCorrupt, first, at)
	}
	return nil
}

// openNetwork opens the listener, checks that the certificate is this node's,
// and starts gossip.
func (n *Node) openNetwork(ctx context.Context) error {
	bundle, err := n.cfg.Credentials.Load()
	if err != nil {
		return fmt.Errorf("credentials: %w", err)
	}
	own, err := bundle.Identity()
	if err != nil {
		return fmt.Errorf("credentials: %w", err)
	}
	own.Cluster, own.Node = n.id.ClusterID, n.id.NodeID // the transport demands that the certificate names this
	n.transport, err = transport.Listen(ctx, transport.Config{
		ListenAddress: n.cfg.ListenAddress,
		Network:       n.cfg.Network,
		Identity:      own,
		Credentials:   n.cfg.Credentials,
		Authorize:     n.authorize,
		Resolve:       n.resolve,
		Log:           n.log,
	})
	if err != nil {
		return err
	}
	if n.advertised, err = advertise(n.cfg.AdvertiseAddress, n.transport.Addr()); err != nil {
		return errors.Join(err, n.transport.Close())
	}
	n.clients = n.newClients()
	if err := n.startGossip(); err != nil {
		n.clients.Close()
		return errors.Join(err, n.transport.Close())
	}
	return nil
}

// advertise returns the address that peers are told.
func advertise(configured string, listening net.Addr) (string, error) {
	if configured != "" {
		return configured, nil
	}
	if tcp, ok := listening.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return "", fmt.Errorf("raftstore config: ListenAddress %s is a wildcard, so AdvertiseAddress must say where other nodes reach this one", listening)
	}
	return listening.String(), nil
}

func (n *Node) startGossip() (err error) {
	g := n.cfg.Gossip
	if g == nil {
		return nil
	}
	n.gossip, err = gossip.Start(n.base, gossip.Config{
		NodeID:           n.id.NodeID,
		ClusterID:        n.id.ClusterID,
		BindAddress:      g.BindAddress,
		AdvertiseAddress: g.AdvertiseAddress,
		Key:              g.Key,
		Seeds:            g.Seeds,
		Address:          n.advertised,
		OnAddress:        n.learnAddress,
		Log:              n.log,
	})
	return err
}

// startRaft starts raft and everything that serves it.
func (n *Node) startRaft() (err error) {
	log := hclogslog.New(n.log)
	snapshots := newSnapshotStore(n.machine.Machine, n.logs, n.cfg.Log.TrailingEntries)
	n.raftNet = newRaftTransport(n.base, n.transport, n.id.NodeID, log)
	cache, err := raft.NewLogCache(logCacheEntries, n.logs)
	if err != nil {
		return err
	}
	n.raft, err = newRaft(n.raftConfig(log), n.machine, cache, n.logs, snapshots, n.raftNet)
	if err != nil {
		return fmt.Errorf("start raft: %w", err)
	}
	for _, s := range n.configuration().Servers {
		n.trust(string(s.ID)) // the log may know them before the state does
	}
	n.observer = raft.NewObserver(n.observed, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	n.raft.RegisterObserver(n.observer)
	n.proposer = n.newProposer()

	n.spawn(func(context.Context) { n.proposer.run(n.requests) })
	n.spawn(n.followLeadership)
	n.spawn(n.watchLeader)
	n.spawn(n.keepFresh)
	n.spawn(n.introduce)
	n.spawn(n.compactLog)
	n.spawn(n.scrub)
	for _, kind := range []transport.Kind{transport.Peer, transport.Join} {
		n.spawn(func(ctx context.Context) { n.serve(ctx, kind) })
	}
	close(n.started)
	return nil
}

// newRaft is raft.NewRaft, which panics where it can't read an entry of the log.
func newRaft(c *raft.Config, m raft.FSM, logs raft.LogStore, stable raft.StableStore, s raft.SnapshotStore, t raft.Transport) (r *raft.Raft, err error) {
	defer func() {
		if p := recover(); p != nil {
			cause, ok := p.(error)
			if !ok {
				cause = fmt.Errorf("%v", p)
			}
			err = cause
		}
	}()
	return raft.NewRaft(c, m, logs, stable, s, t)
}

// enter makes the node part of its cluster, where it is not yet.
func (n *Node) enter(ctx context.Context) (err error) {
	if n.unmetric, err = n.register(); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	if len(n.configuration().Servers) > 0 {
		return nil
	}
	switch {
	case n.cfg.Bootstrap:
		return n.bootstrap(ctx)
	case n.cfg.Join != nil:
		return n.joinCluster(ctx)
	}
	return fmt.Errorf("%w: set Bootstrap to start a new cluster with this node, or Join to take it into one", ErrNotMember)
}
