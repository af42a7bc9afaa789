package transport

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// acceptor is the listener of one kind of stream.
type acceptor struct {
	t      *Transport
	kind   Kind
	conns  chan *Conn // unbuffered: a connection is the transport's or the caller's
	closed chan struct{}
	once   sync.Once
}

func newAcceptor(t *Transport, kind Kind) *acceptor {
	return &acceptor{t: t, kind: kind, conns: make(chan *Conn), closed: make(chan struct{})}
}

// Accept implements net.Listener.
func (a *acceptor) Accept() (net.Conn, error) {
	select {
	case <-a.closed:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-a.conns:
		return c, nil
	case <-a.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (a *acceptor) Close() error {
	a.once.Do(func() { close(a.closed) })
	return nil
}

// Addr implements net.Listener.
func (a *acceptor) Addr() net.Addr { return a.t.Addr() }

// Waits of the accept loop after an error, such as too many open files.
const (
	acceptWaitMin = 5 * time.Millisecond
	acceptWaitMax = time.Second
)

// accept takes connections, once it may, and leaves each to a goroutine of its
// own.
func (t *Transport) accept() {
	if t.cfg.Ready != nil {
		select {
		case <-t.cfg.Ready:
		case <-t.ctx.Done():
			return
		}
	}
	wait := acceptWaitMin
	for {
		raw, err := t.listener.Accept()
		if err == nil {
			wait = acceptWaitMin
			t.admit(raw)
			continue
		}
		if t.ctx.Err() != nil {
			return
		}
		t.cfg.Log.Error("listener can't accept, trying again", "wait", wait, "error", err)
		select {
		case <-time.After(wait):
			wait = min(2*wait, acceptWaitMax)
		case <-t.ctx.Done():
			return
		}
	}
}

func (t *Transport) admit(raw net.Conn) {
	c := &Conn{t: t, raw: raw, source: SourceOf(raw.RemoteAddr())}
	if err := t.addOpening(c); err != nil {
		raw.Close()
		if !errors.Is(err, ErrClosed) {
			t.refusals.add(raw.RemoteAddr(), err)
		}
		return
	}
	t.wg.Go(func() { t.greet(c) })
}

// greet authenticates who has opened c, answers, and hands c on.
func (t *Transport) greet(c *Conn) {
	ctx, cancel := context.WithTimeoutCause(t.ctx, t.cfg.HandshakeTimeout, ErrHandshakeTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, c.cut)
	defer stop()

	err := t.authenticate(ctx, c)
	if err == nil {
		err = writeWelcome(c.Conn, t.claim())
	}
	if err != nil {
		if t.ctx.Err() == nil && !errors.Is(err, io.EOF) { // EOF: a health check, or a peer that gave up
			t.refusals.add(c.raw.RemoteAddr(), because(ctx, err))
		}
		c.hangUp()
		return
	}
	a := t.acceptors[c.kind]
	select {
	case a.conns <- c:
		if !stop() {
			c.cut() // out of time at this very moment
		}
	case <-a.closed:
		c.hangUp()
	case <-ctx.Done():
		c.hangUp()
	}
}

// authenticate finds out who has opened c, and whether that is welcome. A peer
// that is not, and has spoken the protocol so far that it expects an answer, is
// told.
func (t *Transport) authenticate(ctx context.Context, c *Conn) error {
	bundle := t.wallet.bundle()
	conn, ration := serverSide(c.raw, bundle, c.advanced)
	c.Conn = conn
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	c.advanced()
	state := conn.ConnectionState()
	kind, ok := kindOf(state.NegotiatedProtocol)
	if !ok {
		return errors.New("the client names no kind of stream: it is no node")
	}
	peer, err := verify(state.PeerCertificates, bundle.Roots, x509.ExtKeyUsageClientAuth, t.cfg, kind)
	if err != nil && kind == Join && t.cfg.Strangers {
		// TLS has made sure of the key, and of nothing else.
		peer, err = PeerInfo{Key: sha256.Sum256(state.PeerCertificates[0].RawSubjectPublicKeyInfo)}, nil
	}
	if err != nil {
		err = errors.Join(err, writeRefusal(conn, err), conn.CloseWrite())
		// A connection that is closed before its claim was read may be reset, and
		// the answer lost with it.
		_, _ = io.CopyN(io.Discard, conn, claimBytesMax)
		return err
	}
	if peer.Claim, err = readClaim(conn); err == nil {
		err = t.judge(c, peer, kind)
	}
	if err != nil {
		return errors.Join(err, writeRefusal(conn, err))
	}
	ration.limited = false
	return nil
}

// judge tells whether peer is welcome, and takes c up as one of its streams.
func (t *Transport) judge(c *Conn, peer PeerInfo, kind Kind) error {
	// Before the policy is asked, so that CloseWhere, which comes after a change
	// of policy, finds every connection that the old one let in.
	if err := t.addInbound(c, peer, kind); err != nil {
		return err
	}
	if err := t.cfg.Authorize(kind, peer); err != nil {
		return fmt.Errorf("%w: %s for %s: %w", ErrNotAuthorized, peer.Node, kind, err)
	}
	select {
	case <-t.acceptors[kind].closed:
		return ErrNotServed
	default:
		return nil
	}
}

// claim is what this node claims now.
func (t *Transport) claim() Claim {
	if t.cfg.Claim == nil {
		return Claim{}
	}
	return t.cfg.Claim()
}
