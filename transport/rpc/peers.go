package rpc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// PeersConfig shapes [Peers].
type PeersConfig struct {
	// Dial connects to a node.
	Dial func(ctx context.Context, node string) (net.Conn, error)

	// DialTimeout bounds each Dial. Zero means 5 s.
	DialTimeout time.Duration

	// BackoffMin and BackoffMax bound the time from one Dial of a node to the
	// next; it doubles with each failure. Zero means 50 ms and 2 s.
	BackoffMin, BackoffMax time.Duration

	// Client shapes the clients.
	Client Config
}

// Peers keeps a [Client] for each node. Its methods may be called concurrently.
type Peers struct {
	cfg PeersConfig
	wg  sync.WaitGroup // the dials

	mu     sync.Mutex // guards the fields below
	closed bool
	nodes  map[string]*peer
	old    map[*Client]struct{} // that are being replaced
}

// peer is the connection to one node, guarded by Peers.mu.
type peer struct {
	client *Client       // nil until a first dial succeeded
	dialed chan struct{} // closed at the end of the dial that runs; nil if none does
	cancel context.CancelFunc

	err   error         // why the last dial failed, if it did
	wait  time.Duration // after the next failure
	retry time.Time     // no dial before
}

// NewPeers returns a set without connections. Close it.
func NewPeers(cfg PeersConfig) *Peers {
	if cfg.DialTimeout == 0 {
		cfg.DialTimeout = 5 * time.Second
	}
	if cfg.BackoffMin == 0 {
		cfg.BackoffMin = 50 * time.Millisecond
	}
	if cfg.BackoffMax == 0 {
		cfg.BackoffMax = 2 * time.Second
	}
	cfg.BackoffMax = max(cfg.BackoffMax, cfg.BackoffMin)
	return &Peers{cfg: cfg, nodes: make(map[string]*peer), old: make(map[*Client]struct{})}
}

// Call makes a call to a node, as [Client.Call] does. It connects where there is
// no connection. After a failure to do so, further calls fail at once with the
// same cause, and ErrNotSent, until it is time to try again.
func (p *Peers) Call(ctx context.Context, node string, method uint8, body []byte) ([]byte, error) {
	for {
		c, err := p.client(ctx, node)
		if err != nil {
			return nil, fmt.Errorf("%w: node %s: %w", ErrNotSent, node, err)
		}
		res, err := c.Call(ctx, method, body)
		if errors.Is(err, ErrNotSent) && (c.Err() != nil || errors.Is(err, errRetired)) && ctx.Err() == nil {
			continue // an old connection turned out to be dead, or to be replaced; client bounds this
		}
		var answer *Error
		if err != nil && !errors.As(err, &answer) {
			err = fmt.Errorf("node %s: %w", node, err)
		}
		return res, err
	}
}

// client returns a working client of a node.
func (p *Peers) client(ctx context.Context, node string) (*Client, error) {
	for {
		c, dialed, err := p.lookup(ctx, node)
		if c != nil || err != nil {
			return c, err
		}
		select {
		case <-dialed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// lookup returns a working client of a node, or the end of a dial to wait for,
// or why there is neither.
func (p *Peers) lookup(ctx context.Context, node string) (*Client, <-chan struct{}, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, ErrClosed
	}
	e := p.nodes[node]
	if e == nil {
		e = &peer{wait: p.cfg.BackoffMin}
		p.nodes[node] = e
	}
	switch {
	case e.dialed != nil:
		return nil, e.dialed, nil
	case e.client != nil && e.client.Err() == nil:
		return e.client, nil, nil
	case time.Now().Before(e.retry):
		if e.client != nil {
			return nil, nil, e.client.Err()
		}
		return nil, nil, e.err
	}
	// The dial serves whoever else comes, so it must outlive this caller.
	dialCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.cfg.DialTimeout)
	e.dialed, e.cancel = make(chan struct{}), cancel
	p.wg.Go(func() { p.dial(dialCtx, node, e) })
	return nil, e.dialed, nil
}

// dial connects to a node for e, which may have been dropped by the end.
func (p *Peers) dial(ctx context.Context, node string, e *peer) {
	conn, err := p.cfg.Dial(ctx, node)

	p.mu.Lock()
	e.cancel()
	close(e.dialed)
	e.dialed = nil
	dropped := p.nodes[node] != e
	if !dropped {
		old := e.client
		if old != nil {
			p.wg.Go(func() { old.Close() })
		}
		p.record(e, conn, err)
	}
	p.mu.Unlock()
	if dropped && err == nil {
		conn.Close()
	}
}

// record takes up the outcome of a dial. It is called under p.mu.
func (p *Peers) record(e *peer, conn net.Conn, err error) {
	e.client, e.err = nil, err
	if err != nil {
		// A random half of the wait keeps nodes from dialing in step.
		e.retry = time.Now().Add(e.wait/2 + rand.N(e.wait/2+1))
		e.wait = min(2*e.wait, p.cfg.BackoffMax)
	} else {
		e.client = NewClient(conn, p.cfg.Client)
		e.retry = time.Now().Add(p.cfg.BackoffMin)
		e.wait = p.cfg.BackoffMin
	}
}

// DropWhere closes the connections to the nodes that doomed picks and forgets
// these nodes, until they are called again. doomed may not block.
func (p *Peers) DropWhere(doomed func(node string) bool) {
	var clients []*Client
	p.mu.Lock()
	for node, e := range p.nodes {
		if !doomed(node) {
			continue
		}
		delete(p.nodes, node)
		if c := e.end(); c != nil {
			clients = append(clients, c)
		}
	}
	p.mu.Unlock()
	for _, c := range clients {
		c.Close()
	}
}

// ReplaceWhere has the nodes that pick chooses called over new connections from
// now on. What is under way on the old ones has the time of grace to end.
func (p *Peers) ReplaceWhere(pick func(node string) bool, grace time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for node, e := range p.nodes {
		if !pick(node) {
			continue
		}
		delete(p.nodes, node)
		c := e.end()
		if c == nil {
			continue
		}
		p.old[c] = struct{}{}
		p.wg.Go(func() {
			c.retire(grace)
			p.mu.Lock()
			defer p.mu.Unlock()
			delete(p.old, c)
		})
	}
}

// end stops the dial of e, if one runs, and returns its client to close.
func (e *peer) end() *Client {
	if e == nil {
		return nil
	}
	if e.dialed != nil {
		e.cancel()
	}
	return e.client
}

// Close closes every connection and ends every call. It may be called again.
func (p *Peers) Close() error {
	p.mu.Lock()
	p.closed = true
	var clients []*Client
	for _, e := range p.nodes {
		if c := e.end(); c != nil {
			clients = append(clients, c)
		}
	}
	clear(p.nodes)
	for c := range p.old {
		clients = append(clients, c)
	}
	p.mu.Unlock()
	for _, c := range clients {
		c.Close()
	}
	p.wg.Wait()
	return nil
}
