package gossip

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spire-raft/spire-raft/store"
)

// track limits conn, or closes it where the transport is closed. Where there are
// too many that others opened, one of them makes room.
func (t *transport) track(conn net.Conn, inbound bool) (*limitedConn, bool) {
	c := &limitedConn{Conn: conn, t: t, inbound: inbound, left: streamBytesMax}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		_ = conn.Close()
		return nil, false
	}
	if inbound && t.inbound >= streamsMax {
		if victim := t.least(); victim != nil {
			t.forget(victim)
			_ = victim.Conn.Close() // its user closes it again
		}
	}
	c.until = time.Now().Add(streamDuration)
	_ = conn.SetDeadline(c.until)
	t.conns[c] = struct{}{}
	if inbound {
		t.inbound++
	}
	return c, true
}

// least returns the stream that makes room for another: of the host that has
// most of them the oldest that has said nothing, else the oldest. It is called
// under t.mu.
func (t *transport) least() *limitedConn {
	perHost := make(map[string]int)
	for c := range t.conns {
		if c.inbound {
			perHost[c.host()]++
		}
	}
	var least *limitedConn
	for c := range t.conns {
		if !c.inbound {
			continue
		}
		if least == nil || c.before(least, perHost) {
			least = c
		}
	}
	return least
}

// before tells whether c makes room rather than d.
func (c *limitedConn) before(d *limitedConn, perHost map[string]int) bool {
	if n, m := perHost[c.host()], perHost[d.host()]; n != m {
		return n > m
	}
	if c.heard.Load() != d.heard.Load() {
		return d.heard.Load()
	}
	return c.until.Before(d.until)
}

// forget lets go of a stream. It is called under t.mu.
func (t *transport) forget(c *limitedConn) {
	if _, ok := t.conns[c]; !ok {
		return
	}
	delete(t.conns, c)
	if c.inbound {
		t.inbound--
	}
}

// host is the address that c comes from.
func (c *limitedConn) host() string {
	host, _, err := net.SplitHostPort(c.RemoteAddr().String())
	if err != nil {
		return c.RemoteAddr().String()
	}
	return host
}

// limitedConn is a stream that ends after a time and a number of bytes.
type limitedConn struct {
	net.Conn
	t       *transport
	inbound bool
	until   time.Time
	left    int // bytes that may still be read; only the reader uses it
	heard   atomic.Bool
	once    sync.Once
}

func (c *limitedConn) Read(b []byte) (int, error) {
	if c.left == 0 {
		return 0, fmt.Errorf("%w: gossip stream has more than %d bytes", store.ErrTooLarge, streamBytesMax)
	}
	n, err := c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	if n > 0 {
		c.heard.Store(true)
	}
	return n, err
}

// SetDeadline never moves the end of the stream's life.
func (c *limitedConn) SetDeadline(d time.Time) error {
	if d.IsZero() || d.After(c.until) {
		d = c.until
	}
	return c.Conn.SetDeadline(d)
}

// Close forgets the stream. It may be called again.
func (c *limitedConn) Close() error {
	c.once.Do(func() {
		c.t.mu.Lock()
		defer c.t.mu.Unlock()
		c.t.forget(c)
	})
	return c.Conn.Close()
}
