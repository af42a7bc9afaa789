package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
)

// Dial opens a stream to a node. It returns when the node has accepted. The
// error is ErrWrongNode where another node answers, ErrRefused where the node
// does not take this one, or one of those of this package about the node's
// certificate.
func (t *Transport) Dial(ctx context.Context, kind Kind, node string) (*Conn, error) {
	ctx, done, err := t.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	addr, err := t.cfg.Resolve(ctx, node)
	if err != nil {
		return nil, fmt.Errorf("address of node %s: %w", node, because(ctx, err))
	}
	c, err := t.dial(ctx, kind, addr, node)
	if err != nil {
		return nil, fmt.Errorf("dial node %s at %s for %s: %w", node, addr, kind, err)
	}
	return c, nil
}

// DialAddress opens a stream to whichever node of this cluster is at addr.
// [Conn.Peer] tells which it is.
func (t *Transport) DialAddress(ctx context.Context, kind Kind, addr string) (*Conn, error) {
	ctx, done, err := t.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	c, err := t.dial(ctx, kind, addr, "")
	if err != nil {
		return nil, fmt.Errorf("dial %s for %s: %w", addr, kind, err)
	}
	return c, nil
}

// dial opens a stream to addr. Without a node any of this cluster will do.
func (t *Transport) dial(ctx context.Context, kind Kind, addr, node string) (*Conn, error) {
	raw, err := t.cfg.Network.DialContext(ctx, addr)
	if err != nil {
		return nil, because(ctx, err)
	}
	c := &Conn{t: t, raw: raw, kind: kind}
	if err := t.addOutbound(c); err != nil {
		raw.Close()
		return nil, err
	}
	stop := context.AfterFunc(ctx, c.cut)
	if err := t.introduce(ctx, c, node); err != nil {
		stop()
		c.hangUp()
		return nil, because(ctx, err)
	}
	if !stop() {
		c.cut()
		return nil, context.Cause(ctx)
	}
	return c, nil
}

// introduce makes sure of who is at the other end of c, and of being welcome.
func (t *Transport) introduce(ctx context.Context, c *Conn, node string) error {
	bundle := t.wallet.bundle()
	cfg := tlsConfig(bundle)
	cfg.NextProtos = []string{c.kind.ALPN()}
	// There is no server name to check. VerifyConnection does all of it: it is
	// called for every connection, and its error ends the handshake.
	cfg.InsecureSkipVerify = true
	cfg.VerifyConnection = func(state tls.ConnectionState) error {
		peer, err := verify(state.PeerCertificates, bundle.Roots, x509.ExtKeyUsageServerAuth, t.cfg, c.kind)
		if err != nil {
			return err
		}
		if node != "" && peer.Node != node {
			return fmt.Errorf("%w: %s answers", ErrWrongNode, peer.Node)
		}
		if state.NegotiatedProtocol != c.kind.ALPN() {
			return fmt.Errorf("%w: the peer doesn't know %s", ErrNotServed, c.kind.ALPN())
		}
		t.setPeer(c, peer)
		return nil
	}
	conn := tls.Client(c.raw, cfg)
	c.Conn = conn
	if err := conn.HandshakeContext(ctx); err != nil {
		return notAnswered(err)
	}
	own, err := t.claim().append(nil)
	if err != nil {
		return fmt.Errorf("this node's claim: %w", err)
	}
	// Where that fails the answer tells why, or fails too.
	_, _ = conn.Write(own)
	peer := c.peer
	if peer.Claim, err = readAnswer(conn); err != nil {
		return err
	}
	t.setPeer(c, peer)
	if t.cfg.Admit != nil {
		return t.cfg.Admit(c.kind, peer)
	}
	return nil
}

// begin makes ctx end with the handshake timeout and with the transport, which
// waits for done.
func (t *Transport) begin(ctx context.Context) (_ context.Context, done func(), _ error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, nil, ErrClosed
	}
	t.wg.Add(1)
	ctx, end := context.WithCancelCause(ctx)
	stop := context.AfterFunc(t.ctx, func() { end(ErrClosed) })
	ctx, cancel := context.WithTimeoutCause(ctx, t.cfg.HandshakeTimeout, ErrHandshakeTimeout)
	return ctx, func() {
		stop()
		cancel()
		end(nil)
		t.wg.Done()
	}, nil
}

// because puts the reason that ctx has ended for before err, which is then a
// consequence.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}
