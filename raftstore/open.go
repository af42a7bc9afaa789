package raftstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/hashicorp/raft"

	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/raftstore/internal/addressbook"
	"github.com/spire-raft/spire-raft/raftstore/internal/disk"
	"github.com/spire-raft/spire-raft/raftstore/internal/gossip"
	"github.com/spire-raft/spire-raft/raftstore/internal/hclogslog"
	"github.com/spire-raft/spire-raft/raftstore/internal/identity"
	"github.com/spire-raft/spire-raft/raftstore/internal/life"
	"github.com/spire-raft/spire-raft/store/txn"
	"github.com/spire-raft/spire-raft/transport"
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
// it, an address in use, a refused token. Whatever is wrong, Open looks for it
// before it makes or writes to any file, so that a refused Open leaves the
// directory as it was. All that it may leave are the files that it locks, which
// hold no data.
func Open(ctx context.Context, cfg Config) (_ *Node, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	n := &Node{
		cfg:        cfg,
		log:        cfg.Logger,
		metrics:    newMetrics(),
		notify:     make(chan bool, 16),
		observed:   make(chan raft.Observation, 16),
		started:    make(chan struct{}),
		changes:    make(chan struct{}, 1),
		logGrew:    make(chan struct{}, 1),
		stopping:   make(chan struct{}, 1),
		rotation:   rotation{renew: make(chan struct{}, 1)},
		alarms:     lately[string]{pause: alarmInterval, max: alarmsMax},
		hints:      lately[hint]{pause: hintPause},
		decoding:   make(chan struct{}, decodingMax),
		encounters: lately[string]{pause: encounterPause, max: encountersMax},
		done:       make(chan struct{}),
	}
	n.base, n.cancel = context.WithCancel(context.WithoutCancel(ctx))
	n.requests, n.end = context.WithCancel(n.base)
	n.leadership.base = n.base
	n.rounds = rounds{confirm: n.confirm, spawn: n.spawn}
	n.Runner = txn.NewRunner(n.snapshot, n.commit)

	for _, step := range []func(context.Context) error{
		n.claimDir, n.findCredentials, n.register, n.openNetwork, n.consult, n.openFiles, n.beginLife, n.startRaft,
	} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, n.abandon())
		}
	}
	// From here on the node runs, and Close undoes everything.
	if err := n.enter(ctx); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// decodingMax is how many commands of peers are decoded at a time.
const decodingMax = 2

// claimDir finds out whose data directory it is, and keeps others out of it.
func (n *Node) claimDir(context.Context) (err error) {
	dir := n.cfg.Dir
	if n.id, err = identity.Load(dir); err != nil {
		return err
	}
	if n.unlock, err = identity.Lock(dir); err != nil {
		return err
	}
	if err := cmp.Or(markLeft.check(dir), markCopied.check(dir)); err != nil {
		return err
	}
	if n.life, err = life.Open(dir); err != nil {
		return fmt.Errorf("%w; %s", err, lostCure)
	}
	n.log = n.log.With("node", n.id.NodeID)
	n.addresses = addressbook.Open(dir, n.log)
	n.disk, err = disk.Watch(disk.Config{
		Dir:          dir,
		ReserveBytes: n.cfg.Disk.ReserveBytes,
		Free:         n.cfg.Disk.Free,
		Files:        []func() (uint64, error){n.logRoom, n.stateRoom},
		OnChange:     func(bool, uint64) { n.compactSoon() },
		Log:          n.log,
	})
	return err
}

// openNetwork opens the listener, checks that the certificate is this node's,
// and starts gossip. Nothing of what others send is taken before the node runs.
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
		Claim:         n.claim,
		Authorize:     n.authorize,
		Admit:         n.admitPeer,
		Strangers:     n.own != nil,
		TakeExpired:   n.takeExpired(),
		Resolve:       n.resolve,
		Ready:         n.started,
		OnRefuse:      n.metrics.refuse,
		Log:           n.log,
	})
	if err != nil {
		return err
	}
	if n.advertised, err = advertise(n.cfg.AdvertiseAddress, n.transport.Addr()); err != nil {
		return err
	}
	n.clients = n.newClients()
	return n.startGossip()
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
		Key:              configuredKey(g),
		OtherKeys:        g.OtherKeys,
		Seeds:            g.Seeds,
		Address:          n.advertised,
		OnAddress: func(node, address string) {
			select {
			case <-n.started: // until then a hint may not be written down
				n.hear("", []*peerv1.Member{{NodeId: node, Address: address}})
			case <-n.base.Done():
			}
		},
		Log: n.log,
	})
	return err
}

// configuredKey is the gossip key of the configuration, nil where the cluster has
// its own.
func configuredKey(g *GossipConfig) []byte {
	if len(g.Key) == 0 {
		return nil
	}
	return g.Key
}

// startRaft starts raft and everything that serves it.
func (n *Node) startRaft(context.Context) (err error) {
	log := hclogslog.New(n.log)
	n.snapshots = newSnapshotStore(n.machine.Machine, n.logs, n.cfg.Log.TrailingEntries)
	n.raftNet = n.newRaftTransport()
	marks := &commitMarks{Store: n.logs, before: n.appended, known: n.knownCommitted, disputed: n.dispute}
	n.entries, err = raft.NewLogCache(logCacheEntries, marks)
	if err != nil {
		return err
	}
	n.raft, err = newRaft(n.raftConfig(log), n.machine, n.entries, n.logs, n.snapshots, n.raftNet)
	if err != nil {
		return errors.Join(fmt.Errorf("start raft: %w", err), n.raftNet.Close())
	}
	marks.raft.Store(n.raft)
	for _, s := range n.configuration().Servers {
		n.trust(string(s.ID)) // the log may know them before the state does
	}
	n.forgetOthers()
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
	n.spawn(n.announceOpening)
	n.spawn(n.cutStrangers)
	n.spawn(n.flushState)
	n.spawn(n.compactLog)
	n.spawn(n.paceElections)
	n.spawn(n.scrub)
	n.spawn(n.watchCertificate)
	n.spawn(n.renewCertificate)
	n.spawn(n.followAuthority)
	n.spawn(n.followState)
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
