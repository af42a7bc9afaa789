package transport_test

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spire-raft/spire-raft/transport"
	"github.com/spire-raft/spire-raft/transport/memnet"
)

// flood opens connections to n1 at a rate, and lets talk say something on each,
// until the test ends.
func (c *cluster) flood(t *testing.T, from string, perSecond int, talk func(net.Conn)) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	t.Cleanup(func() { cancel(); wg.Wait() })
	wg.Go(func() {
		for ; ctx.Err() == nil; time.Sleep(time.Second / time.Duration(perSecond)) {
			wg.Go(func() {
				conn, err := c.net.Host(from).DialContext(ctx, "n1"+port)
				if err != nil {
					return
				}
				defer conn.Close()
				defer context.AfterFunc(ctx, func() { conn.Close() })()
				talk(conn)
				conn.Read(make([]byte, 1<<10)) // until n1 ends it
			})
		}
	})
}

func silent(net.Conn) {}

// hello says which TLS it speaks, and no more.
func hello(conn net.Conn) {
	tls.Client(&halfDuplex{Conn: conn}, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{transport.Raft.ALPN()}}).Handshake()
}

// A node with a round trip of 150 ms gets through, every time.
func TestFloodsOfStrangersKeepNobodyOut(t *testing.T) {
	for _, tc := range []struct {
		name  string
		from  []string
		rate  int // of each
		talk  func(net.Conn)
		dials int
	}{
		{"silent, from one host", []string{"stranger"}, 1700, silent, 14},
		{"silent, from the node's own host", []string{"n2"}, 500, silent, 14},
		{"stalled after the hello, from one host", []string{"stranger"}, 100, hello, 5},
		{"from some hosts", []string{"a", "b", "c"}, 500, silent, 14},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &cluster{net: memnet.New(memnet.Config{Seed: 1, Latency: 75 * time.Millisecond}), ca: newCA(t)}
				n1, n2 := c.start(t, "n1"), c.start(t, "n2")
				echo(n1, transport.Raft)
				for _, from := range tc.from {
					c.flood(t, from, tc.rate, tc.talk)
				}
				time.Sleep(2 * time.Second)
				for i := range tc.dials {
					conn, err := n2.Dial(t.Context(), transport.Raft, "n1")
					if err != nil {
						t.Fatalf("dial %d: %v", i, err)
					}
					conn.Close()
				}
			})
		})
	}
}

// Where all that is open goes on, and comes from one host, the newcomer of that
// host is the one to wait.
func TestFloods_HandshakesThatGoOnAreNotEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		echo(c.start(t, "n1", func(cfg *transport.Config) { cfg.HandshakesMax = 2 }), transport.Raft)
		var open []*tls.Conn
		for range 2 {
			conn := c.stranger(t, "n1", memberTLS(t, c))
			if err := conn.Handshake(); err != nil {
				t.Fatal(err)
			}
			open = append(open, conn)
		}
		late := c.stranger(t, "n1", memberTLS(t, c))
		if err := late.Handshake(); err == nil {
			t.Error("there was room for a third one")
		}
		for _, conn := range open {
			if _, err := conn.Write(make([]byte, 10)); err != nil { // an empty claim
				t.Fatal(err)
			}
			answer := make([]byte, 11)
			if _, err := conn.Read(answer); err != nil || answer[0] != 0 {
				t.Errorf("answer %v, %v; want welcome", answer, err)
			}
		}
	})
}
