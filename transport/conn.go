package transport

import (
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"time"
)

// Conn is a connection whose peer is known. It is a net.Conn like TCP's.
type Conn struct {
	net.Conn // the TLS connection

	t      *Transport
	raw    net.Conn // below TLS
	kind   Kind
	source string // of one that somebody has opened, see SourceOf

	// step is when the handshake of one that somebody has opened advanced last,
	// in Unix nanoseconds. Zero: the peer has said nothing that makes sense.
	step atomic.Int64

	// peer is set once, under t.mu, before anybody gets the Conn.
	peer PeerInfo

	// life ends a stranger's stream, nil for others. It is set before anybody gets
	// the Conn.
	life *time.Timer

	// moved tells that bytes have passed since the idle check looked last.
	moved atomic.Bool
}

// Peer is who the other side has proved to be, and what it claims.
func (c *Conn) Peer() PeerInfo { return c.peer }

// Kind is what the stream is for.
func (c *Conn) Kind() Kind { return c.kind }

// Read implements net.Conn.
func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.moved.Store(true)
	}
	return n, err
}

// Write implements net.Conn. After an error, a missed deadline included, the
// connection is of no use any more.
func (c *Conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if n > 0 {
		c.moved.Store(true)
	}
	return n, err
}

// Close implements net.Conn. It tells the peer. It may be called again.
func (c *Conn) Close() error {
	if !c.t.forget(c) {
		return nil
	}
	err := c.Conn.Close()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// cut ends the connection at once and without a word, whatever others do with
// it at the time.
func (c *Conn) cut() {
	c.t.forget(c)
	c.raw.Close()
}

// hangUp ends a connection that nobody was given. What has been written still
// arrives.
func (c *Conn) hangUp() {
	c.Close()
	c.raw.Close() // where the connection was forgotten, or TLS has not begun
}

// rationed bounds what a peer can send before it has authenticated. Only the
// goroutine of the handshake uses it until then.
type rationed struct {
	net.Conn
	limited bool
	left    int
}

// handshakeBytesMax is the ration of a handshake: some ten certificates.
const handshakeBytesMax = 64 << 10

var errRation = errors.New("handshake is too long")

func (r *rationed) Read(b []byte) (int, error) {
	if !r.limited {
		return r.Conn.Read(b)
	}
	if r.left == 0 {
		return 0, errRation
	}
	n, err := r.Conn.Read(b[:min(len(b), r.left)])
	r.left -= n
	return n, err
}

// serverSide puts TLS over a connection that somebody has opened. Any
// certificate passes; that it is the peer's is certain, who signed it is not. It
// calls hello when the peer has said which TLS it speaks.
func serverSide(raw net.Conn, b *Bundle, hello func()) (*tls.Conn, *rationed) {
	cfg := tlsConfig(b)
	cfg.ClientAuth = tls.RequireAnyClientCert
	cfg.NextProtos = alpn
	cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		hello()
		return nil, nil
	}
	limited := &rationed{Conn: raw, limited: true, left: handshakeBytesMax}
	return tls.Server(limited, cfg), limited
}
