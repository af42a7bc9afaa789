package memnet

import (
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"time"
)

// conn is one end of a connection.
type conn struct {
	net           *Net
	local, remote addr
	in, out       *stream
	far           *conn

	// Net.mu guards the fields below.
	err           error // why it is over at this end, if it is
	readDeadline  time.Time
	writeDeadline time.Time
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	for {
		if err := c.blocked(c.readDeadline); err != nil {
			return 0, c.opError("read", err)
		}
		seg, next := c.in.arrived()
		switch {
		case seg == nil:
			c.wait(&c.in.changed, earlier(next, c.readDeadline))
		case errors.Is(seg.end, io.EOF):
			return 0, io.EOF
		case seg.end != nil:
			c.die(seg.end)
		default:
			n := copy(b, seg.data)
			c.in.consume(n)
			return n, nil
		}
	}
}

// Write implements net.Conn. It returns when b is on its way.
func (c *conn) Write(b []byte) (int, error) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	for written := 0; ; {
		if c.in.reset() && c.in.hasArrived() {
			c.die(syscall.ECONNRESET)
		}
		if err := c.blocked(c.writeDeadline); err != nil {
			return written, c.opError("write", err)
		}
		if c.far.err != nil { // it answers with a reset
			if !c.in.reset() {
				c.in.send(segment{end: syscall.ECONNRESET})
			}
			return len(b), nil
		}
		if n := min(len(b)-written, c.net.cfg.BufferBytes-c.out.bytes); n > 0 {
			c.out.send(segment{data: slices.Clone(b[written : written+n])})
			written += n
		}
		if written == len(b) {
			return written, nil
		}
		c.wait(&c.out.changed, c.writeDeadline)
	}
}

// blocked tells why nothing goes on this end.
func (c *conn) blocked(deadline time.Time) error {
	if c.err != nil {
		return c.err
	}
	if !deadline.IsZero() && !time.Now().Before(deadline) {
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (c *conn) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "mem", Source: c.local, Addr: c.remote, Err: err}
}

// wait gives up the mutex until e happens or the time has come.
func (c *conn) wait(e *event, until time.Time) {
	changed := e.wait()
	c.net.mu.Unlock()
	defer c.net.mu.Lock()
	if until.IsZero() {
		<-changed
		return
	}
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	}
}

// earlier returns the first of two times; zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Close implements net.Conn. What has been written still arrives, unless this
// end has left something unread: then the other one gets a reset, as with TCP.
func (c *conn) Close() error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if errors.Is(c.err, net.ErrClosed) {
		return nil
	}
	end := io.EOF
	if seg, _ := c.in.arrived(); seg != nil && seg.end == nil {
		end = syscall.ECONNRESET
	}
	c.finish(net.ErrClosed, end)
	return nil
}

// abort ends this end without a goodbye: its process is gone.
func (c *conn) abort() { c.finish(net.ErrClosed, syscall.ECONNRESET) }

// die ends this end because it has learned that the connection is broken.
func (c *conn) die(err error) { c.finish(err, nil) }

// finish ends this end with an error for its users and an end for the other.
// The stream that leads here is dropped, the other one runs out. Close after
// another end only changes the error.
func (c *conn) finish(err, end error) {
	over := c.err != nil
	if !over || errors.Is(err, net.ErrClosed) {
		c.err = err
	}
	if over {
		return
	}
	c.in.discard()
	if end != nil && c.far.err == nil {
		c.out.send(segment{end: end})
	}
	c.out.changed.signal()
	if c.far.err != nil { // until then a cut has to find what is on its way
		delete(c.net.conns, c)
		delete(c.net.conns, c.far)
	}
}

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	c.readDeadline = t
	c.in.changed.signal()
	return c.deadlineError()
}

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	c.writeDeadline = t
	c.out.changed.signal()
	return c.deadlineError()
}

func (c *conn) deadlineError() error {
	if errors.Is(c.err, net.ErrClosed) {
		return c.opError("set", net.ErrClosed)
	}
	return nil
}
