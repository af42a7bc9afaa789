package gossip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/spire-raft/spire-raft/store"
)

const (
	// updateTimeout is how long Update waits for a first member to hear of it.
	updateTimeout = 2 * time.Second

	// firstJoinInterval is the time between joins until one succeeds.
	firstJoinInterval = time.Second

	// lookupTimeout bounds the lookup of one seed.
	lookupTimeout = 5 * time.Second
)

// Gossip takes part in the gossip of a cluster. Its methods may be called
// concurrently.
type Gossip struct {
	cfg       Config
	members   *members
	transport *transport

	// cancel ends ctx, which the goroutines of Gossip run under; wg counts them.
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.RWMutex           // guards the fields below: memberlist panics if used after its end
	list   *memberlist.Memberlist // nil until there are keys
	ring   *memberlist.Keyring    // of list
	closed bool
}

// Start listens and, once there are keys, joins the seeds, in the background,
// again and again until Close: a seed that isn't up yet is no error. ctx bounds
// Start alone. The error tells if the address is in use, or what is wrong with
// cfg.
func Start(ctx context.Context, cfg Config) (*Gossip, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	t, err := listen(ctx, cfg.BindAddress, cfg.AdvertiseAddress)
	if err != nil {
		return nil, err
	}
	g := &Gossip{cfg: cfg, members: newMembers(cfg), transport: t}
	g.ctx, g.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if cfg.Key != nil {
		if err := g.begin(cfg.ClusterID, append([][]byte{cfg.Key}, cfg.OtherKeys...)); err != nil {
			return nil, errors.Join(err, g.Close())
		}
	}
	return g, nil
}

// memberlistConfig is made for a handful of servers in one or a few data
// centres, whose disks and CPUs stall now and then.
func memberlistConfig(cfg Config, t *transport, m *members) *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	c.Name = cfg.NodeID
	c.Transport = t
	c.BindPort = t.addr().Port
	c.AdvertisePort = t.addr().Port
	c.Logger = newLogger(cfg.Log)
	c.Delegate, c.Events, c.Alive, c.Merge = m, m, m, m

	c.TCPTimeout = streamDuration
	c.ProbeTimeout = time.Second
	c.ProbeInterval = 2 * time.Second // memberlist wants it above the timeout
	c.SuspicionMult = 6
	c.PushPullInterval = 15 * time.Second
	c.GossipToTheDeadTime = 5 * time.Minute

	// A server that restarts with another address gets its name back soon.
	c.DeadNodeReclaimTime = 10 * time.Second

	// memberlist 0.6 doesn't bound what a compressed message expands to, and
	// there is little here to compress.
	c.EnableCompression = false
	c.MsgpackUseNewTimeFormat = true
	return c
}

// Addr returns the address listened on, with the port that was chosen. It is
// what others use as a seed.
func (g *Gossip) Addr() string { return g.transport.addr().String() }

// Members returns the other members that were ever heard of, ordered by id,
// those that are down included.
func (g *Gossip) Members() []Member { return g.members.list() }

// Update tells others that this node's transport address is now address. On
// error they learn of it later.
func (g *Gossip) Update(address string) error {
	if err := checkAddress(address); err != nil {
		return err
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.closed {
		return fmt.Errorf("gossip: %w", store.ErrClosed)
	}
	g.members.setAddress(address)
	return g.spread()
}

// SetInstance tells others which instance of the cluster this node is of, once
// it knows, at the latest when states are exchanged. Nodes of another one are not
// heard then. It is for a Gossip with Config.Key, which gossips before that is
// known.
func (g *Gossip) SetInstance(instance string) error {
	if err := checkInstance(instance); err != nil {
		return err
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.closed {
		return fmt.Errorf("gossip: %w", store.ErrClosed)
	}
	g.members.setInstance(instance)
	if err := g.spread(); err != nil {
		g.cfg.Log.Debug("instance not told at once", "error", err)
	}
	return nil
}

// spread tells others what this node says of itself. The caller holds mu.
func (g *Gossip) spread() error {
	if g.list == nil {
		return nil
	}
	if err := g.list.UpdateNode(updateTimeout); err != nil {
		return fmt.Errorf("gossip update: %w", err)
	}
	return nil
}

// Leave tells others that this node goes away on purpose, so that they needn't
// find out. It waits up to timeout for one of them to be told. Close comes next.
func (g *Gossip) Leave(timeout time.Duration) error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.closed {
		return fmt.Errorf("gossip: %w", store.ErrClosed)
	}
	if g.list == nil {
		return nil
	}
	if err := g.list.Leave(timeout); err != nil {
		return fmt.Errorf("gossip leave: %w", err)
	}
	return nil
}

// Close stops listening, closes every stream and waits for the goroutines of
// this package. Of memberlist's own goroutines, one that waits for the answer to
// a probe may live on for a probe interval, 2 seconds; it touches nothing.
// Close may be called again.
func (g *Gossip) Close() error {
	g.cancel()
	g.mu.Lock()
	first, list := !g.closed, g.list
	g.closed = true
	g.mu.Unlock()
	var err error
	switch {
	case !first:
	case list == nil:
		err = g.transport.Shutdown()
	default:
		err = list.Shutdown()
	}
	g.wg.Wait()
	return err
}

// tell passes addresses on until Close.
func (g *Gossip) tell() {
	for {
		select {
		case <-g.ctx.Done():
			return
		case <-g.members.wake:
		}
		for _, m := range g.members.takeChanged() {
			if g.ctx.Err() != nil {
				return
			}
			g.cfg.OnAddress(m.NodeID, m.Address)
		}
	}
}

// rejoin joins the seeds every so often until Close.
func (g *Gossip) rejoin(list *memberlist.Memberlist) {
	if len(g.cfg.Seeds) == 0 {
		return
	}
	interval := min(firstJoinInterval, g.cfg.RejoinInterval)
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-g.ctx.Done():
			return
		case <-t.C:
		}
		if g.join(list) {
			interval = g.cfg.RejoinInterval
		}
		t.Reset(interval)
	}
}

// join looks the seeds up and exchanges states with each of them. It tells
// whether one of them answered.
func (g *Gossip) join(list *memberlist.Memberlist) bool {
	ip, port, _ := g.transport.FinalAdvertiseAddr("", 0) // what memberlist knows must not be read while it changes
	self := net.JoinHostPort(ip.String(), strconv.Itoa(port))
	joined := false
	for _, seed := range g.cfg.Seeds {
		for _, addr := range g.lookup(seed) {
			if g.ctx.Err() != nil {
				return false
			}
			if addr == self {
				continue
			}
			if _, err := list.Join([]string{addr}); err != nil {
				g.cfg.Log.Debug("can't join seed", "seed", seed, "address", addr, "error", err)
				continue
			}
			joined = true
		}
	}
	return joined
}

// lookup returns the addresses of a seed as ip:port.
func (g *Gossip) lookup(seed string) []string {
	ctx, cancel := context.WithTimeout(g.ctx, lookupTimeout)
	defer cancel()
	host, port, err := net.SplitHostPort(seed)
	if err != nil {
		return nil
	}
	ips, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		g.cfg.Log.Debug("can't look up seed", "seed", seed, "error", err)
		return nil
	}
	addrs := make([]string, 0, len(ips))
	for _, ip := range ips {
		addrs = append(addrs, net.JoinHostPort(ip, port))
	}
	return addrs
}
