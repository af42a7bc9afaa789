package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"time"
)

// Stranger is how a node that has no certificate of its cluster yet opens a
// stream: see [DialStranger].
type Stranger struct {
	// Network is what to dial on. Nil means TCP.
	Network Network

	// Certificate is shown to the peer. It may be one that the node has made
	// itself.
	Certificate tls.Certificate

	// Trust tells whether the peer with this chain, leaf first, may be spoken
	// to. The peer has proved that it has the leaf's key. Nothing is sent to a
	// peer that Trust has an error for.
	Trust func(chain []*x509.Certificate) error

	// Timeout bounds the time until the stream is ready. Zero means 5 s.
	Timeout time.Duration
}

// DialStranger opens a Join stream to the node at addr, which takes it if
// Config.Strangers is set there.
func DialStranger(ctx context.Context, s Stranger, addr string) (net.Conn, error) {
	c, err := dialStranger(ctx, s, addr)
	if err != nil {
		return nil, fmt.Errorf("dial %s for %s: %w", addr, Join, err)
	}
	return c, nil
}

func dialStranger(ctx context.Context, s Stranger, addr string) (net.Conn, error) {
	if s.Network == nil {
		s.Network = tcp{}
	}
	if s.Timeout == 0 {
		s.Timeout = 5 * time.Second
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.Timeout, ErrHandshakeTimeout)
	defer cancel()
	raw, err := s.Network.DialContext(ctx, addr)
	if err != nil {
		return nil, because(ctx, err)
	}
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	conn, err := s.introduce(ctx, raw)
	if err != nil || !stop() {
		raw.Close()
		return nil, because(ctx, err)
	}
	return conn, nil
}

func (s Stranger) introduce(ctx context.Context, raw net.Conn) (net.Conn, error) {
	cfg := tlsConfig(&Bundle{Certificate: s.Certificate})
	cfg.NextProtos = []string{Join.ALPN()}
	cfg.InsecureSkipVerify = true // VerifyConnection does all of it
	cfg.VerifyConnection = func(state tls.ConnectionState) error {
		if state.NegotiatedProtocol != Join.ALPN() {
			return fmt.Errorf("%w: the peer doesn't know %s", ErrNotServed, Join.ALPN())
		}
		return s.Trust(state.PeerCertificates)
	}
	conn := tls.Client(raw, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, notAnswered(err)
	}
	claim, err := Claim{}.append(nil) // a stranger has nothing to claim
	if err != nil {
		return nil, err
	}
	// Where that fails the answer tells why, or fails too.
	_, _ = conn.Write(claim)
	_, err = readAnswer(conn)
	return conn, err
}
