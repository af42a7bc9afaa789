package transport_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spire-raft/spire-raft/transport"
)

var allKinds = []transport.Kind{transport.Raft, transport.Peer, transport.Join}

func TestDial_BothSidesKnowEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		n1, n2 := c.start(t, "n1"), c.start(t, "n2")
		for _, kind := range allKinds {
			near := dial(t, n1, kind, "n2")
			far := accept(t, n2, kind)
			if near.Peer().Identity != id("n2") || near.Kind() != kind {
				t.Errorf("dialer has a %v stream to %v", near.Kind(), near.Peer())
			}
			if far.Peer().Identity != id("n1") || far.Kind() != kind {
				t.Errorf("listener has a %v stream from %v", far.Kind(), far.Peer())
			}
			go func() {
				io.Copy(far, far)
				far.Close()
			}()
			wantEcho(t, near)
			if err := near.Close(); err != nil {
				t.Error(err)
			}
			if err := near.Close(); err != nil {
				t.Errorf("second Close: %v", err)
			}
			if _, err := near.Write([]byte("x")); err == nil {
				t.Error("Write after Close")
			}
		}
	})
}

func TestDial_ItselfAndByAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		n1 := c.start(t, "n1")
		echo(n1, transport.Peer)
		wantEcho(t, dial(t, n1, transport.Peer, "n1"))
		c.start(t, "n2")
		echo(n1, transport.Join)
		conn, err := n1.DialAddress(t.Context(), transport.Join, "n1"+port)
		if err != nil {
			t.Fatal(err)
		}
		if conn.Peer().Identity != id("n1") {
			t.Errorf("peer is %v", conn.Peer())
		}
	})
}

func TestDial_NobodyThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		unknown := errors.New("unknown node")
		n1 := c.start(t, "n1", func(cfg *transport.Config) {
			cfg.Resolve = func(_ context.Context, node string) (string, error) {
				if node == "n9" {
					return "", unknown
				}
				return node + port, nil
			}
		})
		_, err := n1.Dial(t.Context(), transport.Raft, "n2")
		wantErrors(t, err, syscall.ECONNREFUSED)
		_, err = n1.Dial(t.Context(), transport.Raft, "n9")
		wantErrors(t, err, unknown)

		// A host that swallows everything, and one that accepts and says nothing.
		c.start(t, "n2")
		c.net.Partition([]string{"n1"})
		begin := time.Now()
		_, err = n1.Dial(t.Context(), transport.Raft, "n2")
		wantErrors(t, err, transport.ErrHandshakeTimeout)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = n1.Dial(ctx, transport.Raft, "n2")
		wantErrors(t, err, context.DeadlineExceeded)
		c.net.Heal()
		if _, err := c.net.Host("mute").Listen(t.Context(), port); err != nil {
			t.Fatal(err)
		}
		_, err = n1.Dial(t.Context(), transport.Raft, "mute")
		wantErrors(t, err, transport.ErrHandshakeTimeout)
		if d := time.Since(begin); d != 11*time.Second {
			t.Errorf("three dials took %v", d)
		}
	})
}

func TestListen_PortInUse(t *testing.T) {
	ca := newCA(t)
	cfg := transport.Config{
		ListenAddress: "127.0.0.1:0",
		Identity:      id("n1"),
		Credentials:   issue(t, ca, id("n1")),
		Authorize:     func(transport.Kind, transport.PeerInfo) error { return nil },
		Resolve:       func(context.Context, string) (string, error) { return "", nil },
	}
	cfg.ListenAddress = listen(t, cfg).Addr().String()
	_, err := transport.Listen(t.Context(), cfg)
	wantErrors(t, err, syscall.EADDRINUSE)
	if err == nil || !strings.Contains(err.Error(), cfg.ListenAddress) || !strings.Contains(err.Error(), "another port") {
		t.Errorf("error does not name the address and a cure: %v", err)
	}
}

func TestListen_ReportsAllThatIsWrong(t *testing.T) {
	_, err := transport.Listen(t.Context(), transport.Config{IdleTimeout: time.Second, ConnsMax: -1, JoinIdleTimeout: -1,
		HandshakeTimeout: -1, ConnsPerPeerMax: -1, HandshakesMax: -1})
	for _, want := range []string{"ListenAddress", "Credentials", "Authorize", "Resolve", "Identity", " IdleTimeout", "ConnsMax",
		"JoinIdleTimeout", "HandshakeTimeout", "ConnsPerPeerMax", "HandshakesMax"} {
		if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), "\n", " "), want) {
			t.Errorf("error does not name %s: %v", want, err)
		}
	}
}

func TestClose_EndsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		n1, n2 := c.start(t, "n1"), c.start(t, "n2")
		echo(n1, transport.Raft)
		echo(n2, transport.Raft)
		out := dial(t, n1, transport.Raft, "n2")
		in := dial(t, n2, transport.Raft, "n1")
		wantEcho(t, out)
		wantEcho(t, in)

		ended := make(chan error, 3)
		go func() { _, err := n1.Listener(transport.Peer).Accept(); ended <- err }()
		go func() { _, err := out.Read(make([]byte, 1)); ended <- err }()
		c.net.Cut("n1", "nowhere")
		go func() { _, err := n1.Dial(t.Context(), transport.Peer, "nowhere"); ended <- err }()
		synctest.Wait()
		for range 2 {
			if err := n1.Close(); err != nil {
				t.Error(err)
			}
		}
		for range 3 {
			if err := <-ended; !errors.Is(err, net.ErrClosed) && !errors.Is(err, transport.ErrClosed) {
				t.Errorf("ended with %v", err)
			}
		}
		wantEnd(t, in)
		_, err := n1.Dial(t.Context(), transport.Raft, "n2")
		wantErrors(t, err, transport.ErrClosed)
		_, err = n1.DialAddress(t.Context(), transport.Raft, "n2"+port)
		wantErrors(t, err, transport.ErrClosed)
		if _, err := n1.Listener(transport.Raft).Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept: %v", err)
		}
		c.start(t, "n1") // the port is free again
	})
}

func TestCloseWhere_CutsBothDirections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		n1, n2, n3 := c.start(t, "n1"), c.start(t, "n2"), c.start(t, "n3")
		for _, n := range []*transport.Transport{n1, n2, n3} {
			echo(n, transport.Raft)
		}
		out, in := dial(t, n1, transport.Raft, "n2"), dial(t, n2, transport.Raft, "n1")
		other := dial(t, n3, transport.Raft, "n1")
		wantEcho(t, out)
		wantEcho(t, in)
		n1.CloseWhere(func(kind transport.Kind, peer transport.PeerInfo) bool {
			return kind == transport.Raft && peer.Node == "n2"
		})
		wantEnd(t, out)
		wantEnd(t, in)
		wantEcho(t, other)
	})
}

// A node that is removed while its connection is being authorised must not slip
// through.
func TestCloseWhere_FindsConnectionsThatAreBeingAuthorized(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		var n1 *transport.Transport
		n1 = c.start(t, "n1", func(cfg *transport.Config) {
			cfg.Authorize = func(_ transport.Kind, peer transport.PeerInfo) error {
				n1.CloseWhere(func(_ transport.Kind, p transport.PeerInfo) bool { return p.Identity == peer.Identity }) // as if the answer below were just out of date
				return nil
			}
		})
		echo(n1, transport.Raft)
		conn, err := c.start(t, "n2").Dial(t.Context(), transport.Raft, "n1")
		if err == nil {
			wantEnd(t, conn)
		}
	})
}

func TestListener_Closed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		n1, n2 := c.start(t, "n1"), c.start(t, "n2")
		echo(n1, transport.Raft)
		conn := dial(t, n2, transport.Raft, "n1")
		if err := n1.Listener(transport.Raft).Close(); err != nil {
			t.Error(err)
		}
		_, err := n2.Dial(t.Context(), transport.Raft, "n1")
		wantErrors(t, err, transport.ErrRefused, transport.ErrNotServed)
		wantEcho(t, conn)
	})
}

func TestListener_StreamThatNobodyAccepts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.start(t, "n1")
		conn := dial(t, c.start(t, "n2"), transport.Raft, "n1")
		begin := time.Now()
		wantEnd(t, conn)
		if d := time.Since(begin); d > 5*time.Second {
			t.Errorf("closed after %v", d)
		}
	})
}

func TestIdleStreams(t *testing.T) {
	hours := 3 * time.Hour
	for _, tc := range []struct {
		name    string
		kind    transport.Kind
		timeout time.Duration // IdleTimeout
		quiet   time.Duration
		closed  bool
	}{
		{"raft streams may be quiet for ever", transport.Raft, 0, hours, false},
		{"so may peer streams", transport.Peer, 0, hours, false},
		{"unless configured", transport.Raft, time.Minute, hours, true},
		{"but not too early", transport.Raft, 10 * time.Minute, 9 * time.Minute, false},
		{"join streams end soon", transport.Join, 0, time.Minute, true},
		{"but not too early either", transport.Join, 0, 29 * time.Second, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				n1 := c.start(t, "n1", func(cfg *transport.Config) { cfg.IdleTimeout = tc.timeout })
				echo(n1, tc.kind)
				conn := dial(t, c.start(t, "n2"), tc.kind, "n1")
				for range 3 {
					time.Sleep(20 * time.Second)
					wantEcho(t, conn)
				}
				time.Sleep(tc.quiet)
				if tc.closed {
					wantEnd(t, conn)
				} else {
					wantEcho(t, conn)
				}
			})
		})
	}
}

func TestLimits_ConnectionsInAllAndPerPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		n1 := c.start(t, "n1", func(cfg *transport.Config) { cfg.ConnsPerPeerMax, cfg.ConnsMax = 2, 3 })
		echo(n1, transport.Raft)
		echo(n1, transport.Peer)
		n2, n3 := c.start(t, "n2"), c.start(t, "n3")
		first := dial(t, n2, transport.Raft, "n1")
		dial(t, n2, transport.Peer, "n1")
		_, err := n2.Dial(t.Context(), transport.Raft, "n1")
		wantErrors(t, err, transport.ErrRefused, transport.ErrBusy)
		dial(t, n3, transport.Raft, "n1")
		_, err = n3.Dial(t.Context(), transport.Raft, "n1")
		wantErrors(t, err, transport.ErrRefused, transport.ErrBusy)
		wantEcho(t, first)

		first.Close()
		synctest.Wait()
		time.Sleep(time.Second)
		wantEcho(t, dial(t, n2, transport.Raft, "n1"))
	})
}

func TestTLS_OnlyVersion13(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.start(t, "n1")
		conn := c.stranger(t, "n1", &tls.Config{MaxVersion: tls.VersionTLS12})
		if err := conn.Handshake(); err == nil {
			t.Error("TLS 1.2 was accepted")
		}
	})
}

func TestListen_TakesNoConnectionBeforeItIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		ready := make(chan struct{})
		n1 := c.start(t, "n1", func(cfg *transport.Config) { cfg.Ready = ready })
		echo(n1, transport.Raft)
		n2 := c.start(t, "n2")
		echo(n2, transport.Raft)
		wantEcho(t, dial(t, n1, transport.Raft, "n2")) // it may dial itself

		dialed := make(chan error, 1)
		go func() {
			conn, err := n2.Dial(t.Context(), transport.Raft, "n1")
			if err == nil {
				err = conn.Close()
			}
			dialed <- err
		}()
		time.Sleep(time.Second)
		select {
		case err := <-dialed:
			t.Fatalf("dialed before the listener is ready: %v", err)
		default:
		}
		close(ready)
		if err := <-dialed; err != nil {
			t.Errorf("a dial that waited: %v", err)
		}
	})
}

func TestListen_ClosesBeforeItIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		n1 := c.start(t, "n1", func(cfg *transport.Config) { cfg.Ready = make(chan struct{}) })
		if err := n1.Close(); err != nil {
			t.Error(err)
		}
	})
}
