package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Client makes calls over one connection. Its methods may be called
// concurrently.
type Client struct {
	cfg   Config
	conn  net.Conn
	out   *outbox
	slots chan struct{} // one token for each open call
	spare sync.Pool     // of channels for one answer each
	wg    sync.WaitGroup
	done  chan struct{} // closed when the connection is of no use any more

	mu    sync.Mutex // guards the fields below
	next  uint64
	calls map[uint64]chan answer
	err   error // why done is closed

	retired bool          // takes no new calls
	idle    chan struct{} // closed when retired has no call any more, nil before
}

// answer is what a call came to.
type answer struct {
	body []byte
	err  error
}

// NewClient makes calls over conn, which it owns from then on. Close it.
func NewClient(conn net.Conn, cfg Config) *Client {
	cfg = cfg.withDefaults()
	c := &Client{
		cfg:   cfg,
		conn:  conn,
		out:   newOutbox(conn, cfg),
		slots: make(chan struct{}, cfg.InFlightMax),
		done:  make(chan struct{}),
		calls: make(map[uint64]chan answer),
	}
	c.spare.New = func() any { return make(chan answer, 1) }
	c.wg.Go(func() { c.fail(c.out.run()) })
	c.wg.Go(func() { c.fail(c.receive()) })
	return c
}

// Call sends a request and waits for its answer: the response, which belongs to
// the caller, or an *Error. Other errors say that there is none: ErrNotSent
// that the peer has not got the request, ErrConnectionLost or the context's
// error without ErrNotSent that it may have. Call keeps nothing of body.
//
// Without a deadline in ctx the call lasts until the connection ends.
func (c *Client) Call(ctx context.Context, method uint8, body []byte) ([]byte, error) {
	f := frame{kind: request, method: method, body: body}
	if f.size() > c.cfg.FrameBytesMax {
		return nil, fmt.Errorf("%w: %w: %d bytes, the limit is %d", ErrNotSent, ErrTooLarge, len(body), c.cfg.FrameBytesMax-f.size()+len(body))
	}
	if err := c.acquire(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	defer func() { <-c.slots }()
	if deadline, ok := ctx.Deadline(); ok {
		// A time of 0 would be no bound.
		f.timeout = max(time.Until(deadline), 1)
	}

	id, ch, err := c.open()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	f.id = id
	batch, err := c.out.push(ctx, f)
	if err != nil {
		c.abandon(id)
		return nil, fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	select {
	case a := <-ch:
		c.spare.Put(ch)
		return a.body, a.err
	case <-ctx.Done():
	case <-c.done:
	}
	if !c.abandon(id) { // the answer came at the last moment
		a := <-ch
		c.spare.Put(ch)
		return a.body, a.err
	}
	if err := c.Err(); err != nil {
		<-c.done // until then the batch might still leave
		if !c.out.taken(batch) {
			return nil, fmt.Errorf("%w: %w", ErrNotSent, err)
		}
		return nil, fmt.Errorf("%w: %w", ErrConnectionLost, err)
	}
	c.cancel(id)
	return nil, fmt.Errorf("no answer in time, the call may be carried out: %w", ctx.Err())
}

// acquire waits for a free slot.
func (c *Client) acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case c.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-c.done:
		return c.Err()
	}
}

// open registers a call.
func (c *Client) open() (uint64, chan answer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, nil, c.err
	}
	if c.retired {
		return 0, nil, errRetired
	}
	c.next++
	ch := c.spare.Get().(chan answer)
	c.calls[c.next] = ch
	return c.next, ch, nil
}

// abandon ends a call without an answer. It returns false where the answer has
// been taken up, and is or will be in the call's channel.
func (c *Client) abandon(id uint64) bool {
	return c.take(id) != nil
}

// take ends a call and returns its channel; nil if there is no such call.
func (c *Client) take(id uint64) chan answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := c.calls[id]
	delete(c.calls, id)
	if c.idle != nil && ch != nil && len(c.calls) == 0 {
		close(c.idle)
		c.idle = nil
	}
	return ch
}

// errRetired: another client has taken over.
var errRetired = errors.New("the connection is being replaced")

// retire takes no further calls, waits until those that are open have ended, at
// most for grace, and closes.
func (c *Client) retire(grace time.Duration) {
	c.mu.Lock()
	c.retired = true
	idle := make(chan struct{})
	if len(c.calls) == 0 {
		close(idle)
	} else {
		c.idle = idle
	}
	c.mu.Unlock()
	select {
	case <-idle:
	case <-c.done:
	case <-time.After(grace):
	}
	c.Close()
}

// cancel tells the peer that nobody waits for id any more. Where there is no
// room at once the peer has to find out by the deadline.
func (c *Client) cancel(id uint64) {
	c.out.offer(frame{kind: cancel, id: id})
}

// receive hands out answers.
func (c *Client) receive() error {
	r := newFrameReader(c.conn, c.cfg)
	for {
		h, err := r.header()
		if err != nil {
			return err
		}
		f, err := r.frame(h)
		if err != nil {
			return err
		}
		var a answer
		switch f.kind {
		case response:
			a.body = f.body
		case failure:
			a.err = &Error{Code: f.code, Message: string(f.body)}
		default:
			return fmt.Errorf("%w: a frame of type %d is no answer", ErrProtocol, f.kind)
		}
		if ch := c.take(f.id); ch != nil {
			ch <- a
		}
	}
}

// fail ends the client and all its calls. The first error counts.
func (c *Client) fail(err error) {
	c.mu.Lock()
	first := c.err == nil
	if first {
		if errors.Is(err, io.EOF) {
			err = errPeerClosed
		}
		c.err = err
	}
	c.mu.Unlock()
	if first {
		// In this order: a call that sees done knows for certain whether its
		// batch has been taken.
		c.out.fail(err)
		close(c.done)
		c.conn.Close()
	}
}

var errPeerClosed = errors.New("the peer closed the connection")

// Err tells why the client can make no more calls. It is nil while it can.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection and every call. It may be called again.
func (c *Client) Close() error {
	c.fail(ErrClosed)
	c.wg.Wait()
	return nil
}
