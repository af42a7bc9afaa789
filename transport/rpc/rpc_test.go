package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spire-raft/spire-raft/transport/memnet"
	"github.com/spire-raft/spire-raft/transport/rpc"
)

func TestCall_ConcurrentCallsGetTheirOwnAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := pair(t, memnet.New(memnet.Config{Seed: 1, Latency: time.Millisecond, Jitter: time.Millisecond}))
		cfg := rpc.Config{InFlightMax: 16}
		serve(t, far, cfg, func(_ context.Context, method uint8, body []byte) ([]byte, error) {
			return append(bytes.Clone(body), method), nil
		})
		c := rpc.NewClient(near, cfg)
		defer c.Close()
		var wg sync.WaitGroup
		for caller := range 24 {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(caller), 0))
				for i := range 30 {
					size := 10 + rng.IntN(1000)
					if rng.IntN(10) == 0 {
						size = rng.IntN(150_000)
					}
					body := bytes.Repeat(fmt.Appendf(nil, "%d.%d.", caller, i), size/4)
					got, err := c.Call(t.Context(), uint8(i), body)
					if err != nil {
						t.Errorf("call %d of caller %d: %v", i, caller, err)
						return
					}
					if !bytes.Equal(got, append(bytes.Clone(body), uint8(i))) {
						t.Errorf("call %d of caller %d got another answer of %d bytes", i, caller, len(got))
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

func TestCall_ErrorsOfHandlersKeepTheirCode(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		want rpc.Error
	}{
		{"a coded error", &rpc.Error{Code: 42, Message: "not the leader"}, rpc.Error{Code: 42, Message: "not the leader"}},
		{"a wrapped coded error", fmt.Errorf("apply: %w", &rpc.Error{Code: 7, Message: "m"}), rpc.Error{Code: 7, Message: "m"}},
		{"any other error", errors.New("broken"), rpc.Error{Code: rpc.CodeUnknown, Message: "broken"}},
		{"a long message is cut off", errors.New(strings.Repeat("x", 5000)), rpc.Error{Message: strings.Repeat("x", 1024)}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := client(t, rpc.Config{}, func(context.Context, uint8, []byte) ([]byte, error) { return nil, tc.err })
				_, err := c.Call(t.Context(), 1, nil)
				var got *rpc.Error
				if !errors.As(err, &got) || *got != tc.want {
					t.Errorf("got %v, want %v", err, &tc.want)
				}
				if errors.Is(err, rpc.ErrNotSent) || errors.Is(err, rpc.ErrConnectionLost) {
					t.Errorf("an answer looks like a lost call: %v", err)
				}
			})
		})
	}
}

// handlerEnd is when the context of a handler ended, and how.
type handlerEnd struct {
	after time.Duration
	err   error
}

// waitForEnd returns a handler that waits for the end of its context and tells
// it.
func waitForEnd(begun chan<- struct{}) (rpc.Handler, <-chan handlerEnd) {
	ends := make(chan handlerEnd, 1)
	begin := time.Now()
	return func(ctx context.Context, _ uint8, _ []byte) ([]byte, error) {
		begun <- struct{}{}
		<-ctx.Done()
		ends <- handlerEnd{time.Since(begin), ctx.Err()}
		return nil, ctx.Err()
	}, ends
}

// TestCall_DeadlineReachesTheHandler cuts the connection once the handler runs:
// both sides keep the deadline by themselves. With the connection whole both
// would tell the other at the same moment, and either could be first.
func TestCall_DeadlineReachesTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Config{})
		near, far := pair(t, n)
		begun := make(chan struct{}, 1)
		handler, ends := waitForEnd(begun)
		serve(t, far, rpc.Config{}, handler)
		c := rpc.NewClient(near, rpc.Config{})
		defer c.Close()
		go func() {
			<-begun
			n.Partition([]string{"client"}, []string{"server"})
		}()

		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, err := c.Call(ctx, 1, nil)
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, rpc.ErrNotSent) {
			t.Errorf("Call: %v", err)
		}
		if e := <-ends; e.after != 3*time.Second || e.err != context.DeadlineExceeded {
			t.Errorf("handler ended after %v with %v", e.after, e.err)
		}
		n.Heal()
		if err := c.Err(); err != nil {
			t.Errorf("the connection did not survive: %v", err)
		}
	})
}

func TestCall_CancelReachesTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handler, ends := waitForEnd(make(chan struct{}, 1))
		c := client(t, rpc.Config{}, handler)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := c.Call(ctx, 1, nil); !errors.Is(err, context.Canceled) || errors.Is(err, rpc.ErrNotSent) {
			t.Errorf("Call: %v", err)
		}
		if e := <-ends; e.after != time.Second || e.err != context.Canceled {
			t.Errorf("handler ended after %v with %v", e.after, e.err)
		}
		if err := c.Err(); err != nil {
			t.Errorf("the connection did not survive: %v", err)
		}
	})
}

func TestCall_TellsWhetherItMayHaveBeenSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Nobody reads: the first call fills the connection, the second gathers.
		near, far := pair(t, memnet.New(memnet.Config{BufferBytes: 10}))
		c := rpc.NewClient(near, rpc.Config{})
		results := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := c.Call(t.Context(), 1, []byte("some bytes"))
				results <- err
			}()
			synctest.Wait()
		}
		far.Close()
		var lost, unsent int
		for range 2 {
			switch err := <-results; {
			case errors.Is(err, rpc.ErrNotSent):
				unsent++
			case errors.Is(err, rpc.ErrConnectionLost):
				lost++
			}
		}
		if lost != 1 || unsent != 1 {
			t.Errorf("%d lost, %d not sent; want one each", lost, unsent)
		}
		if _, err := c.Call(t.Context(), 1, nil); !errors.Is(err, rpc.ErrNotSent) {
			t.Errorf("call on a dead connection: %v", err)
		}

		done, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.Call(done, 1, nil); !errors.Is(err, rpc.ErrNotSent) || !errors.Is(err, context.Canceled) {
			t.Errorf("call with a context that has ended: %v", err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestCall_ConnectionLostWhileTheHandlerRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := pair(t, memnet.New(memnet.Config{}))
		started, lost, stopped := make(chan struct{}), make(chan struct{}), make(chan error)
		stop := serve(t, far, rpc.Config{}, func(context.Context, uint8, []byte) ([]byte, error) {
			close(started)
			<-lost // else the answer might leave before the connection is closed
			return nil, nil
		})
		c := rpc.NewClient(near, rpc.Config{})
		defer c.Close()
		go func() {
			<-started
			stopped <- stop()
		}()
		if _, err := c.Call(t.Context(), 1, nil); !errors.Is(err, rpc.ErrConnectionLost) || errors.Is(err, rpc.ErrNotSent) {
			t.Errorf("Call: %v", err)
		}
		close(lost)
		if err := <-stopped; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

func TestClient_CloseEndsCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := client(t, rpc.Config{}, func(ctx context.Context, _ uint8, _ []byte) ([]byte, error) {
			<-ctx.Done()
			return nil, nil
		})
		result := make(chan error)
		go func() {
			_, err := c.Call(t.Context(), 1, nil)
			result <- err
		}()
		synctest.Wait()
		for range 2 {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := <-result; !errors.Is(err, rpc.ErrConnectionLost) || !errors.Is(err, rpc.ErrClosed) {
			t.Errorf("open call: %v", err)
		}
		if _, err := c.Call(t.Context(), 1, nil); !errors.Is(err, rpc.ErrNotSent) || !errors.Is(err, rpc.ErrClosed) {
			t.Errorf("call after Close: %v", err)
		}
	})
}

func TestCall_BodiesOverTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 1000
		c := client(t, rpc.Config{FrameBytesMax: limit}, func(_ context.Context, _ uint8, body []byte) ([]byte, error) {
			return append(body, make([]byte, 100)...), nil
		})
		if _, err := c.Call(t.Context(), 1, make([]byte, limit)); !errors.Is(err, rpc.ErrTooLarge) || !errors.Is(err, rpc.ErrNotSent) {
			t.Errorf("request: %v", err)
		}
		var answer *rpc.Error
		if _, err := c.Call(t.Context(), 1, make([]byte, limit-22)); !errors.As(err, &answer) || !strings.Contains(answer.Message, "limit") {
			t.Errorf("response: %v", err)
		}
		if got, err := c.Call(t.Context(), 1, make([]byte, limit-113)); err != nil || len(got) != limit-13 {
			t.Errorf("response at the limit: %d bytes, %v", len(got), err)
		}
	})
}

func TestCall_InFlightMaxMakesCallsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := client(t, rpc.Config{InFlightMax: 2}, func(context.Context, uint8, []byte) ([]byte, error) {
			time.Sleep(time.Second)
			return nil, nil
		})
		begin := time.Now()
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				if _, err := c.Call(t.Context(), 1, nil); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := c.Call(ctx, 1, nil); !errors.Is(err, rpc.ErrNotSent) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a call that had no turn: %v", err)
		}
		wg.Wait()
		if d := time.Since(begin); d != 3*time.Second {
			t.Errorf("6 calls of 1 s, two at a time, took %v", d)
		}
	})
}
