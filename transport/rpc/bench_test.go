package rpc_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/transport"
	"github.com/spire-raft/spire-raft/transport/devca"
	"github.com/spire-raft/spire-raft/transport/rpc"
)

// BenchmarkCall measures small calls over TLS on loopback, both ends included.
func BenchmarkCall(b *testing.B) {
	client := rpc.NewClient(tlsLoopback(b), rpc.Config{})
	defer client.Close()
	for _, callers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
			defer cancel()
			body := make([]byte, 512)
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			for range callers {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						if _, err := client.Call(ctx, 1, body); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
		})
	}
}

// tlsLoopback returns a connection between two nodes, with an echo server at
// its end.
func tlsLoopback(b *testing.B) net.Conn {
	ca, err := devca.New(time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	nodes := make(map[string]*transport.Transport)
	for _, name := range []string{"n1", "n2"} {
		id := transport.Identity{TrustDomain: "example.org", Cluster: "c1", Node: name}
		bundle, err := ca.Issue(id, time.Hour)
		if err != nil {
			b.Fatal(err)
		}
		nodes[name], err = transport.Listen(b.Context(), transport.Config{
			ListenAddress: "127.0.0.1:0",
			Identity:      id,
			Credentials:   bundle,
			Authorize:     func(transport.Kind, transport.PeerInfo) error { return nil },
			Resolve: func(_ context.Context, node string) (string, error) {
				return nodes[node].Addr().String(), nil
			},
		})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { nodes[name].Close() })
	}
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		rpc.ServeListener(ctx, nodes["n2"].Listener(transport.Peer), rpc.Config{Log: slog.Default()}, func(net.Conn) rpc.Handler { return echo })
	})
	b.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	conn, err := nodes["n1"].Dial(b.Context(), transport.Peer, "n2")
	if err != nil {
		b.Fatal(err)
	}
	return conn
}
