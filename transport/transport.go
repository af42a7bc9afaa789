package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"
)

// Transport is one node's listener and its connections, in both directions. Its
// methods may be called concurrently.
type Transport struct {
	cfg       Config
	wallet    *wallet
	listener  net.Listener
	acceptors map[Kind]*acceptor
	refusals  refusalLog

	// ctx ends with Close, which waits on wg for every goroutine and every
	// Dial.
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex // guards the fields below
	closed   bool
	opening  []*Conn            // inbound, not authenticated yet, oldest first
	inbound  map[*Conn]struct{} // authenticated
	outbound map[*Conn]struct{}
	perNode  map[string]int // how many inbound connections a node has
}

// Listen starts the transport of a node. It fails where the address is in use
// (errors.Is syscall.EADDRINUSE) and where the node's own certificate does not
// fit, with the errors that a peer would have about it. ctx bounds the call,
// not the transport.
func Listen(ctx context.Context, cfg Config) (*Transport, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	w := &wallet{cfg: cfg}
	if err := w.open(); err != nil {
		return nil, err
	}
	listener, err := cfg.Network.Listen(ctx, cfg.ListenAddress)
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("%s is in use, maybe by another server of this kind: stop it or choose another port: %w", cfg.ListenAddress, err)
		}
		return nil, fmt.Errorf("listen on %s: %w", cfg.ListenAddress, err)
	}

	t := &Transport{
		cfg:       cfg,
		wallet:    w,
		listener:  listener,
		acceptors: make(map[Kind]*acceptor),
		refusals:  refusalLog{log: cfg.Log, onRefuse: cfg.OnRefuse},
		inbound:   make(map[*Conn]struct{}),
		outbound:  make(map[*Conn]struct{}),
		perNode:   make(map[string]int),
	}
	t.ctx, t.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for _, k := range kinds {
		t.acceptors[k] = newAcceptor(t, k)
		if every := cfg.idleTimeout(k); every > 0 {
			t.wg.Go(func() { t.sweep(k, every) })
		}
	}
	t.wg.Go(t.accept)
	return t, nil
}

// Addr is the address that the transport listens on.
func (t *Transport) Addr() net.Addr { return t.listener.Addr() }

// Validity is the time that the node's own certificate is good for. It looks at
// the credentials, and takes new ones as a handshake would.
func (t *Transport) Validity() (notBefore, notAfter time.Time, err error) {
	chain, err := t.wallet.bundle().chain()
	if err != nil {
		return time.Time{}, time.Time{}, err
	}
	return chain[0].NotBefore, chain[0].NotAfter, nil
}

// AuthorityValidity is the same of the root that vouches for that certificate,
// wherever that comes from. Roots that don't vouch for it are an error.
func (t *Transport) AuthorityValidity() (notBefore, notAfter time.Time, err error) {
	bundle := t.wallet.bundle()
	chain, err := bundle.chain()
	if err != nil {
		return time.Time{}, time.Time{}, err
	}
	root, err := rootOf(chain, bundle.Roots)
	if err != nil {
		return time.Time{}, time.Time{}, err
	}
	return root.NotBefore, root.NotAfter, nil
}

// Listener hands out the streams of one kind, which must be one of this package,
// that other nodes open; what its Accept returns is a *Conn. There is one listener for each kind: to close it
// refuses further streams and leaves those it has handed out. A stream that
// nobody accepts is closed after the handshake timeout.
func (t *Transport) Listener(kind Kind) net.Listener {
	return t.acceptors[kind]
}

// CloseWhere cuts the connections, in both directions, that doomed picks by what
// they are for and whose they are. A peer that has not answered yet has no
// claim. It may not block: nothing goes on meanwhile.
func (t *Transport) CloseWhere(doomed func(kind Kind, peer PeerInfo) bool) {
	t.cutWhere(func(c *Conn) bool { return c.peer.Node != "" && doomed(c.kind, c.peer) })
}

// Close stops listening, cuts every connection in both directions, and waits
// for what the transport has running. It may be called again.
func (t *Transport) Close() error {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.cancel()
	err := t.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	for _, a := range t.acceptors {
		a.Close()
	}
	t.cutWhere(func(*Conn) bool { return true })
	t.wg.Wait()
	return err
}

// sweep ends the inbound streams of a kind that are idle.
func (t *Transport) sweep(kind Kind, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			t.cutWhere(func(c *Conn) bool {
				_, in := t.inbound[c]
				return in && c.kind == kind && !c.moved.Swap(false)
			})
		case <-t.ctx.Done():
			return
		}
	}
}

// cutWhere cuts the connections that doomed picks. It is called under t.mu.
func (t *Transport) cutWhere(doomed func(*Conn) bool) {
	var cut []*Conn
	t.mu.Lock()
	for _, c := range t.opening {
		if doomed(c) {
			cut = append(cut, c)
		}
	}
	for c := range t.inbound {
		if doomed(c) {
			cut = append(cut, c)
		}
	}
	for c := range t.outbound {
		if doomed(c) {
			cut = append(cut, c)
		}
	}
	t.mu.Unlock()
	for _, c := range cut {
		c.cut()
	}
}
