package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spire-raft/spire-raft/transport/memnet"
	"github.com/spire-raft/spire-raft/transport/rpc"
)

func TestServe_LimitsWhatOneConnectionHolds(t *testing.T) {
	for _, tc := range []struct {
		name string
		cfg  rpc.Config
		body int
		want int64
	}{
		{"requests", rpc.Config{InFlightMax: 3}, 10, 3},
		{"bytes of requests", rpc.Config{FrameBytesMax: 1000, InFlightBytesMax: 1000}, 400, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := pair(t, memnet.New(memnet.Config{}))
				var running, total atomic.Int64
				serve(t, far, tc.cfg, func(context.Context, uint8, []byte) ([]byte, error) {
					running.Add(1)
					defer running.Add(-1)
					time.Sleep(time.Second)
					total.Add(1)
					return nil, nil
				})
				for id := range uint64(20) {
					near.Write(requestFrame(id, make([]byte, tc.body)))
				}
				for total.Load() < 20 {
					synctest.Wait()
					if n := running.Load(); n > tc.want {
						t.Fatalf("%d handlers run, want %d", n, tc.want)
					}
					time.Sleep(500 * time.Millisecond)
				}
				near.Close()
			})
		})
	}
}

func TestServe_EndsWithThePeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := pair(t, memnet.New(memnet.Config{}))
		result := make(chan error, 1)
		go func() { result <- rpc.Serve(t.Context(), far, rpc.Config{}, echo) }()
		near.Write(requestFrame(1, nil))
		io.ReadFull(near, make([]byte, 13))
		near.Close()
		if err := <-result; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

func TestServe_RefusesWhatIsNoRequest(t *testing.T) {
	frame := func(length uint32, kind byte, payload string) []byte {
		b := requestFrame(1, []byte(payload))
		b = slices.Delete(b, 13, 13+9)
		b[0], b[1], b[2], b[3] = byte(length>>24), byte(length>>16), byte(length>>8), byte(length)
		b[12] = kind
		return b
	}
	negative := requestFrame(1, nil)
	negative[14] = 0xff
	for _, tc := range []struct {
		name string
		sent []byte
		want error
	}{
		{"a frame of 400 MiB", frame(400<<20, 1, ""), rpc.ErrProtocol},
		{"the longest length there is", frame(math.MaxUint32, 1, ""), rpc.ErrProtocol},
		{"a frame shorter than its header", frame(8, 1, ""), rpc.ErrProtocol},
		{"an unknown type", frame(9+3, 99, "abc"), rpc.ErrProtocol},
		{"type 0", frame(9, 0, ""), rpc.ErrProtocol},
		{"a request without a method", frame(9, 1, ""), rpc.ErrProtocol},
		{"a request without its time", frame(9+8, 1, "12345678"), rpc.ErrProtocol},
		{"a request with a negative time", negative, rpc.ErrProtocol},
		{"a cancel with a payload", frame(9+1, 4, "x"), rpc.ErrProtocol},
		{"a response", frame(9, 2, ""), rpc.ErrProtocol},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), rpc.ErrProtocol},
		{"an id that is open already", slices.Concat(requestFrame(1, nil), requestFrame(1, nil)), rpc.ErrProtocol},
		{"half a header", []byte{0, 0, 0}, io.ErrUnexpectedEOF},
		{"half a frame", requestFrame(1, []byte("body"))[:24], io.ErrUnexpectedEOF},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := pair(t, memnet.New(memnet.Config{}))
				result := make(chan error, 1)
				go func() {
					result <- rpc.Serve(t.Context(), far, rpc.Config{}, func(ctx context.Context, _ uint8, _ []byte) ([]byte, error) {
						<-ctx.Done()
						return nil, nil
					})
				}()
				near.Write(tc.sent)
				synctest.Wait()
				near.Close()
				if err := <-result; !errors.Is(err, tc.want) {
					t.Errorf("Serve: %v, want %v", err, tc.want)
				}
			})
		})
	}
}

func TestClient_RefusesWhatIsNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := pair(t, memnet.New(memnet.Config{}))
		c := rpc.NewClient(near, rpc.Config{})
		defer c.Close()
		go far.Write(requestFrame(1, nil))
		_, err := c.Call(t.Context(), 1, nil)
		if !errors.Is(err, rpc.ErrProtocol) {
			t.Errorf("Call: %v", err)
		}
		far.Close()
	})
}

// A frame may claim what it likes: memory is taken as bytes arrive.
func TestServe_ClaimedBytesCostNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := rpc.Config{FrameBytesMax: 1 << 30}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		var conns []net.Conn
		n := memnet.New(memnet.Config{})
		for range 100 {
			near, far := pair(t, n)
			serve(t, far, cfg, echo)
			claim := requestFrame(1, nil)
			claim[0] = 0x19 // 400 MiB
			near.Write(claim)
			conns = append(conns, near)
		}
		synctest.Wait()
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 64<<20 {
			t.Errorf("100 connections took %d MiB", grown>>20)
		}
		for _, c := range conns {
			c.Close()
		}
	})
}

func TestServe_StalledPeersAreCutOff(t *testing.T) {
	for _, tc := range []struct {
		name  string
		stall func(near net.Conn)
	}{
		{"in the middle of a frame", func(near net.Conn) { near.Write(requestFrame(1, make([]byte, 100))[:50]) }},
		{"not reading responses", func(near net.Conn) {
			for id := range uint64(100) {
				near.Write(requestFrame(id, bytes.Repeat([]byte("x"), 1000)))
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := pair(t, memnet.New(memnet.Config{BufferBytes: 10_000}))
				begin := time.Now()
				go tc.stall(near)
				if err := rpc.Serve(t.Context(), far, rpc.Config{StallTimeout: 10 * time.Second}, echo); err == nil {
					t.Error("Serve ended without an error")
				}
				if d := time.Since(begin); d != 10*time.Second {
					t.Errorf("Serve ended after %v", d)
				}
				near.Close()
			})
		})
	}
}

func TestServe_QuietConnectionsLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := client(t, rpc.Config{}, echo)
		for range 3 {
			if _, err := c.Call(t.Context(), 1, make([]byte, 200<<10)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
		}
	})
}

func TestServeListener_ClosesAllWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Config{})
		ln, err := n.Host("server").Listen(t.Context(), ":7000")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() {
			result <- rpc.ServeListener(ctx, ln, rpc.Config{}, func(conn net.Conn) rpc.Handler {
				from := conn.RemoteAddr().String()
				return func(context.Context, uint8, []byte) ([]byte, error) { return []byte(from), nil }
			})
		}()
		for range 3 {
			conn, err := n.Host("client").DialContext(t.Context(), "server:7000")
			if err != nil {
				t.Fatal(err)
			}
			c := rpc.NewClient(conn, rpc.Config{})
			defer c.Close()
			if got, err := c.Call(t.Context(), 1, nil); err != nil || string(got) != conn.LocalAddr().String() {
				t.Errorf("Call = %q, %v", got, err)
			}
		}
		cancel()
		if err := <-result; err != nil {
			t.Errorf("ServeListener: %v", err)
		}
	})
}
