package rpc

import (
	"context"
	"net"
	"runtime"
	"sync"
	"time"
)

// outbox collects the frames that go out on a connection. While one batch is
// being written the next one gathers.
type outbox struct {
	conn     net.Conn
	bytesMax int // of a batch; a single frame may be as large
	stall    time.Duration
	wake     chan struct{} // holds a token while there may be something to write

	mu    sync.Mutex // guards the fields below
	buf   []byte     // the batch that gathers
	batch uint64     // its number: lower ones have been, or are being, written
	room  chan struct{}
	err   error
}

func newOutbox(conn net.Conn, cfg Config) *outbox {
	return &outbox{
		conn:     conn,
		bytesMax: cfg.FrameBytesMax,
		stall:    cfg.StallTimeout,
		wake:     make(chan struct{}, 1),
		room:     make(chan struct{}),
	}
}

// push puts f, which it copies, into a batch and returns the batch's number. It
// waits while there is no room. After an error f has not been sent.
func (o *outbox) push(ctx context.Context, f frame) (uint64, error) {
	o.mu.Lock()
	for o.err == nil && len(o.buf) > 0 && len(o.buf)+f.size() > o.bytesMax {
		room := o.room
		o.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		o.mu.Lock()
	}
	if o.err != nil {
		defer o.mu.Unlock()
		return 0, o.err
	}
	o.buf = f.appendTo(o.buf)
	batch := o.batch
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
	return batch, nil
}

// take returns the batch that has gathered and begins the next one in spare.
func (o *outbox) take(spare []byte) ([]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return nil, o.err
	}
	buf := o.buf
	o.buf = spare[:0]
	o.batch++
	close(o.room)
	o.room = make(chan struct{})
	return buf, nil
}

// taken tells whether a batch has been handed to the connection. It is final
// once fail has been called.
func (o *outbox) taken(batch uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return batch < o.batch
}

// fail ends run and every push, with the first err it was called with.
func (o *outbox) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return
	}
	o.err = err
	o.buf = nil
	close(o.room)
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// spareBytesMax is the size of the largest buffer that is used again.
const spareBytesMax = 1 << 20

// run writes batches until the connection or fail ends it.
func (o *outbox) run() error {
	var spare []byte
	for range o.wake {
		runtime.Gosched() // let whoever is about to push do so: fewer, larger writes
		buf, err := o.take(spare)
		if err != nil {
			return err
		}
		if len(buf) > 0 {
			// A write that stalls is given up, and the connection with it.
			_ = o.conn.SetWriteDeadline(time.Now().Add(o.stall))
			if _, err := o.conn.Write(buf); err != nil {
				return err
			}
		}
		// Always, since the last spare is where the next batch gathers now.
		if spare = buf; cap(buf) > spareBytesMax {
			spare = nil
		}
	}
	return nil
}

// offer puts f into the batch that gathers if there is room now.
func (o *outbox) offer(f frame) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil || len(o.buf)+f.size() > o.bytesMax {
		return
	}
	o.buf = f.appendTo(o.buf)
	select {
	case o.wake <- struct{}{}:
	default:
	}
}
