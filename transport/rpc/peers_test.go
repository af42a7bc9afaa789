package rpc_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spire-raft/spire-raft/transport/memnet"
	"github.com/spire-raft/spire-raft/transport/rpc"
)

// fleet is a network with echo servers and the Peers that call them.
type fleet struct {
	*rpc.Peers
	net   *memnet.Net
	dials int
	mu    sync.Mutex
}

func newFleet(t *testing.T) *fleet {
	f := &fleet{net: memnet.New(memnet.Config{Latency: time.Millisecond})}
	f.Peers = rpc.NewPeers(rpc.PeersConfig{
		Dial: func(ctx context.Context, node string) (net.Conn, error) {
			f.mu.Lock()
			f.dials++
			f.mu.Unlock()
			return f.net.Host("me").DialContext(ctx, node+":7000")
		},
		DialTimeout: 10 * time.Second,
	})
	t.Cleanup(func() { f.Close() })
	return f
}

func (f *fleet) start(t *testing.T, node string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	f.net.Host(node).Start()
	ln, err := f.net.Host(node).Listen(ctx, ":7000")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		rpc.ServeListener(ctx, ln, rpc.Config{}, func(net.Conn) rpc.Handler { return echoOrHang })
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
}

// methodHang gets no answer.
const methodHang = 99

func echoOrHang(ctx context.Context, method uint8, body []byte) ([]byte, error) {
	if method == methodHang {
		<-ctx.Done()
	}
	return body, ctx.Err()
}

func (f *fleet) wantDials(t *testing.T, want int) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dials != want {
		t.Errorf("%d dials, want %d", f.dials, want)
	}
}

func TestPeers_ShareOneConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		f.start(t, "n1")
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if got, err := f.Call(t.Context(), "n1", 1, []byte("hello")); err != nil || string(got) != "hello" {
					t.Errorf("Call = %q, %v", got, err)
				}
			})
		}
		wg.Wait()
		f.wantDials(t, 1)
	})
}

func TestPeers_ConnectAgainAfterALoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		f.start(t, "n1")
		call := func() error {
			_, err := f.Call(t.Context(), "n1", 1, nil)
			return err
		}
		if err := call(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		f.net.Host("n1").Stop()
		time.Sleep(time.Second)
		if err := call(); !errors.Is(err, rpc.ErrNotSent) {
			t.Errorf("call to a stopped node: %v", err)
		}
		f.start(t, "n1")
		time.Sleep(time.Second)
		if err := call(); err != nil {
			t.Errorf("call to a node that is back: %v", err)
		}
	})
}

func TestPeers_BackOffFailsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		var calls int
		for begin := time.Now(); time.Since(begin) < time.Minute; time.Sleep(10 * time.Millisecond) {
			before := time.Now()
			_, err := f.Call(t.Context(), "n1", 1, nil)
			if !errors.Is(err, rpc.ErrNotSent) {
				t.Fatal(err)
			}
			if d := time.Since(before); d > 10*time.Millisecond {
				t.Fatalf("a call took %v to fail", d)
			}
			calls++
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.dials < 30 || f.dials > 80 {
			t.Errorf("%d calls dialed %d times in a minute", calls, f.dials)
		}
	})
}

func TestPeers_CallerGivesUpOnADialThatGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		f.start(t, "n1")
		f.net.Host("me")
		f.net.Partition([]string{"me"}, []string{"n1"})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := f.Call(ctx, "n1", 1, nil); !errors.Is(err, rpc.ErrNotSent) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Call: %v", err)
		}
		time.AfterFunc(time.Second, f.net.Heal)
		if _, err := f.Call(t.Context(), "n1", 1, nil); err != nil {
			t.Errorf("Call: %v", err)
		}
		f.wantDials(t, 1)
	})
}

func TestPeers_DropAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		f.start(t, "n1")
		f.start(t, "n2")
		for _, node := range []string{"n1", "n2"} {
			if _, err := f.Call(t.Context(), node, 1, nil); err != nil {
				t.Fatal(err)
			}
		}
		f.DropWhere(func(node string) bool { return node == "n1" })
		f.DropWhere(func(node string) bool { return node == "n1" })
		f.DropWhere(func(node string) bool { return node == "n3" })
		for _, node := range []string{"n1", "n2"} {
			if _, err := f.Call(t.Context(), node, 1, nil); err != nil {
				t.Fatal(err)
			}
		}
		f.wantDials(t, 3)

		f.net.Host("me")
		f.net.Host("n3")
		f.net.Partition([]string{"n3"})
		result := make(chan error)
		go func() {
			_, err := f.Call(t.Context(), "n3", 1, nil)
			result <- err
		}()
		synctest.Wait()
		for range 2 {
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := <-result; !errors.Is(err, rpc.ErrNotSent) || !errors.Is(err, rpc.ErrClosed) {
			t.Errorf("call during Close: %v", err)
		}
		if _, err := f.Call(t.Context(), "n1", 1, nil); !errors.Is(err, rpc.ErrClosed) {
			t.Errorf("call after Close: %v", err)
		}
	})
}

func TestPeers_ReplaceWhereFailsNoCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		f.start(t, "n1")
		f.start(t, "n2")
		for _, node := range []string{"n1", "n2"} {
			if _, err := f.Call(t.Context(), node, 1, nil); err != nil {
				t.Fatal(err)
			}
		}
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 100 * time.Microsecond)
				for range 20 {
					if got, err := f.Call(t.Context(), "n1", 1, []byte("hello")); err != nil || string(got) != "hello" {
						t.Errorf("Call = %q, %v", got, err)
					}
				}
			})
		}
		time.Sleep(20 * time.Millisecond)
		f.ReplaceWhere(func(node string) bool { return node == "n1" }, time.Second)
		wg.Wait()
		f.wantDials(t, 3)
	})
}

func TestPeers_ReplaceWhereWaitsForGraceOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		f.start(t, "n1")
		done := make(chan error)
		go func() {
			_, err := f.Call(t.Context(), "n1", methodHang, nil)
			done <- err
		}()
		time.Sleep(20 * time.Millisecond)
		begun := time.Now()
		f.ReplaceWhere(func(string) bool { return true }, time.Second)
		if err := <-done; !errors.Is(err, rpc.ErrConnectionLost) || time.Since(begun) != time.Second {
			t.Errorf("a call that doesn't end: %v after %v", err, time.Since(begun))
		}
	})
}
