package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// Handler answers a request. ctx ends with the time that the caller has left,
// when the caller gives up, and with the connection. The body belongs to the
// handler, and what it returns must not be changed afterwards. To choose the
// code of an error return an [*Error].
type Handler func(ctx context.Context, method uint8, body []byte) ([]byte, error)

// Serve answers the requests that come over conn, each in its own goroutine,
// until the peer closes it, ctx ends, or something is wrong with it, which is
// the only case that gives an error. It closes conn and waits for the handlers.
func Serve(ctx context.Context, conn net.Conn, cfg Config, handler Handler) error {
	cfg = cfg.withDefaults()
	return serve(ctx, conn, cfg, newBudget(cfg), handler)
}

// serve is Serve with a budget that other connections may share.
func serve(ctx context.Context, conn net.Conn, cfg Config, shared *budget, handler Handler) error {
	callsCtx, end := context.WithCancel(ctx)
	s := &server{
		conn:      conn,
		handler:   handler,
		checkBody: cfg.CheckBody,
		out:       newOutbox(conn, cfg),
		budget:    shared,
		bytesMax:  cfg.FrameBytesMax,
		calls:     make(map[uint64]context.CancelFunc),
	}
	var writeErr error
	s.wg.Go(func() {
		writeErr = s.out.run()
		end()
	})
	s.wg.Go(func() {
		<-callsCtx.Done()
		conn.Close() // ends receive and run where they wait
	})
	err := s.receive(callsCtx, newFrameReader(conn, cfg))
	end()
	s.out.fail(errReceiveEnded)
	s.wg.Wait()

	switch {
	case ctx.Err() != nil || errors.Is(err, io.EOF):
		return nil
	case !errors.Is(writeErr, errReceiveEnded):
		return writeErr // it came first, and closed conn under receive
	}
	return err
}

var errReceiveEnded = errors.New("no more requests")

// server is one connection.
type server struct {
	conn      net.Conn
	handler   Handler
	checkBody func(method uint8, size int) error // nil lets all pass
	out       *outbox
	budget    *budget
	bytesMax  int // of a frame
	wg        sync.WaitGroup

	mu    sync.Mutex // guards calls
	calls map[uint64]context.CancelFunc
}

// receive starts a handler for each request. It returns nil when ctx has ended.
func (s *server) receive(ctx context.Context, r *frameReader) error {
	for {
		h, err := r.header()
		if err != nil {
			return err
		}
		if h.kind == request {
			err = s.request(ctx, r, h)
		} else {
			err = s.other(r, h)
		}
		if err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// request reads a request and starts its handler, when the budget has room.
func (s *server) request(ctx context.Context, r *frameReader, h header) error {
	if s.checkBody != nil {
		method, err := r.method(h)
		if err != nil {
			return err
		}
		if why := s.checkBody(method, h.payload-requestHeaderBytes); why != nil {
			s.answer(ctx, h.id, nil, why)
			return r.discard(h)
		}
	}
	if !s.budget.acquire(ctx, h.payload) {
		return nil
	}
	f, err := r.frame(h)
	if err == nil {
		err = s.start(ctx, f, h.payload)
	}
	if err != nil {
		s.budget.release(h.payload)
	}
	return err
}

// other reads a frame that is no request.
func (s *server) other(r *frameReader, h header) error {
	if h.kind != cancel {
		return fmt.Errorf("%w: a frame of type %d is no request", ErrProtocol, h.kind)
	}
	f, err := r.frame(h)
	if err != nil {
		return err
	}
	s.cancel(f.id)
	return nil
}

// start runs the handler for a request that holds a share of the budget, and
// gives that back in the end. After an error the share is the caller's.
func (s *server) start(connCtx context.Context, f frame, held int) error {
	var ctx context.Context
	var end context.CancelFunc
	if f.timeout > 0 {
		ctx, end = context.WithTimeout(connCtx, f.timeout)
	} else {
		ctx, end = context.WithCancel(connCtx)
	}
	if !s.register(f.id, end) {
		end()
		return fmt.Errorf("%w: two open requests have the id %d", ErrProtocol, f.id)
	}
	s.wg.Go(func() {
		defer func() { s.budget.release(held) }()
		body, err := s.handler(ctx, f.method, f.body)
		if !s.cancel(f.id) {
			return // nobody waits for the answer any more
		}
		held += len(body)
		s.budget.add(len(body))
		s.answer(connCtx, f.id, body, err)
	})
	return nil
}

// register takes note of an open call. It returns false where there is one with
// this id.
func (s *server) register(id uint64, end context.CancelFunc) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.calls[id]; ok {
		return false
	}
	s.calls[id] = end
	return true
}

// answer sends what a handler has returned. An error means that the connection
// is lost, which receive notices too.
func (s *server) answer(ctx context.Context, id uint64, body []byte, err error) {
	f := frame{id: id, kind: response, body: body}
	if err == nil && f.size() > s.bytesMax {
		err = fmt.Errorf("%w: the response has %d bytes, the limit is %d", ErrTooLarge, len(body), s.bytesMax-headerBytes)
	}
	if err != nil {
		var coded *Error
		if !errors.As(err, &coded) {
			coded = &Error{Code: CodeUnknown, Message: err.Error()}
		}
		message := coded.Message[:min(len(coded.Message), messageBytesMax)]
		f = frame{id: id, kind: failure, code: coded.Code, body: []byte(message)}
	}
	_, _ = s.out.push(ctx, f)
}

// cancel ends the context of a call, forgets it, and tells whether it was there.
func (s *server) cancel(id uint64) bool {
	s.mu.Lock()
	end := s.calls[id]
	delete(s.calls, id)
	s.mu.Unlock()
	if end != nil {
		end()
	}
	return end != nil
}
