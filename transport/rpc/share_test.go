package rpc_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spire-raft/spire-raft/transport/memnet"
	"github.com/spire-raft/spire-raft/transport/rpc"
)

// shared serves a listener whose peers are hosts of the network. It returns how
// to connect from a host.
func shared(t *testing.T, cfg rpc.Config, h rpc.Handler) (connect func(host string) net.Conn) {
	t.Helper()
	n := memnet.New(memnet.Config{})
	ln, err := n.Host("server").Listen(t.Context(), ":0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.PeerOf = func(c net.Conn) string {
		host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
		return host
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- rpc.ServeListener(ctx, ln, cfg, func(net.Conn) rpc.Handler { return h }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return func(host string) net.Conn {
		c, err := n.Host(host).DialContext(t.Context(), ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
}

// TestServeListener_BoundsWhatAPeerHolds, however many connections it opens. The
// others are not held up.
func TestServeListener_BoundsWhatAPeerHolds(t *testing.T) {
	for name, cfg := range map[string]rpc.Config{
		"requests": {InFlightMax: 2},
		"bytes":    {FrameBytesMax: 1000, InFlightBytesMax: 1000},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var running, most, total atomic.Int64
				connect := shared(t, cfg, func(context.Context, uint8, []byte) ([]byte, error) {
					most.Store(max(most.Load(), running.Add(1)))
					defer running.Add(-1)
					time.Sleep(time.Second)
					total.Add(1)
					return nil, nil
				})
				for range 6 {
					conn := connect("greedy")
					for id := range uint64(3) {
						conn.Write(requestFrame(id, make([]byte, 400)))
					}
				}
				synctest.Wait()
				if running.Load() != 2 {
					t.Errorf("%d handlers of one peer run, want 2", running.Load())
				}
				connect("other").Write(requestFrame(1, make([]byte, 400)))
				synctest.Wait()
				if running.Load() != 3 {
					t.Errorf("%d handlers run when another peer comes, want 3", running.Load())
				}
				time.Sleep(20 * time.Second)
				if total.Load() != 19 || most.Load() != 3 {
					t.Errorf("%d requests were answered, %d at a time; want 19 and 3", total.Load(), most.Load())
				}
			})
		})
	}
}

// TestServeListener_BrokenFramesGiveTheirRoomBack: else a peer that comes back
// after some of them would never be heard again.
func TestServeListener_BrokenFramesGiveTheirRoomBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		connect := shared(t, rpc.Config{FrameBytesMax: 1000, InFlightBytesMax: 1000, StallTimeout: time.Second}, echo)
		for range 3 {
			conn := connect("a")
			conn.Write(requestFrame(1, make([]byte, 900))[:500])
			synctest.Wait()
			conn.Close()
		}
		connect("a").Write(requestFrame(1, make([]byte, 900))[:500]) // and stalls
		time.Sleep(2 * time.Second)
		conn := connect("a")
		conn.Write(requestFrame(7, make([]byte, 900)))
		answer := make([]byte, 13)
		conn.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := io.ReadFull(conn, answer); err != nil || binary.BigEndian.Uint64(answer[4:]) != 7 {
			t.Errorf("answer %x, %v", answer, err)
		}
	})
}

func TestServeListener_TheOldestConnectionOfAPeerMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		connect := shared(t, rpc.Config{ConnsPerPeerMax: 2}, echo)
		alive := func(c net.Conn) bool {
			c.Write(requestFrame(1, nil))
			c.SetReadDeadline(time.Now().Add(time.Second))
			_, err := io.ReadFull(c, make([]byte, 13))
			return err == nil
		}
		other := connect("b")
		first, second, third := connect("a"), connect("a"), connect("a")
		synctest.Wait()
		if alive(first) || !alive(second) || !alive(third) || !alive(other) {
			t.Error("not the oldest connection of the peer was closed, or not it alone")
		}
	})
}

// TestServe_LooksAtTheSizeBeforeTheBody: what is too large for its method is
// refused before it has come, and passed over.
func TestServe_LooksAtTheSizeBeforeTheBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := pair(t, memnet.New(memnet.Config{}))
		refusal := &rpc.Error{Code: 9, Message: "too large"}
		var asked []byte
		stop := serve(t, far, rpc.Config{CheckBody: func(method uint8, size int) error {
			if asked = append(asked, method); size > 100 {
				return refusal
			}
			return nil
		}}, echo)
		large := requestFrame(1, make([]byte, 1<<20))
		near.Write(large[:14]) // up to the method
		synctest.Wait()
		reply := make([]byte, 13+4+len(refusal.Message))
		near.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := io.ReadFull(near, reply); err != nil || reply[12] != 3 || reply[16] != 9 {
			t.Fatalf("answer %q, %v", reply, err)
		}
		near.Write(large[14:])
		near.Write(requestFrame(2, []byte("body")))
		reply = make([]byte, 13+4)
		near.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := io.ReadFull(near, reply); err != nil || reply[12] != 2 || string(reply[13:]) != "body" {
			t.Errorf("the next request is answered %q, %v", reply, err)
		}
		if !bytes.Equal(asked, []byte{7, 7}) {
			t.Errorf("asked about methods %v", asked)
		}
		near.Write(requestFrame(3, make([]byte, 1<<20))[:500])
		near.Close()
		if err := stop(); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("Serve: %v", err)
		}
	})
}
