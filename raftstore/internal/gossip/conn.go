package gossip

import (
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/spire-raft/spire-raft/store"
)

// track limits conn, or closes it where there are too many or the transport is.
func (t *transport) track(conn net.Conn, inbound bool) (*limitedConn, bool) {
	c := &limitedConn{Conn: conn, t: t, inbound: inbound, left: streamBytesMax}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || inbound && t.inbound >= streamsMax {
		_ = conn.Close()
		return nil, false
	}
	c.until = time.Now().Add(streamDuration)
	_ = conn.SetDeadline(c.until)
	t.conns[c] = struct{}{}
	if inbound {
		t.inbound++
	}
	return c, true
}

// limitedConn is a stream that ends after a time and a number of bytes.
type limitedConn struct {
	net.Conn
	t       *transport
	inbound bool
	until   time.Time
	left    int // bytes that may still be read; only the reader uses it
	once    sync.Once
}

func (c *limitedConn) Read(b []byte) (int, error) {
	if c.left == 0 {
		return 0, fmt.Errorf("%w: gossip stream has more than %d bytes", store.ErrTooLarge, streamBytesMax)
	}
	n, err := c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
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
		delete(c.t.conns, c)
		if c.inbound {
			c.t.inbound--
		}
	})
	return c.Conn.Close()
}
