package transport_test

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spire-raft/spire-raft/transport"
	"github.com/spire-raft/spire-raft/transport/devca"
	"github.com/spire-raft/spire-raft/transport/memnet"
)

// Two nodes of a cluster; the second one says hello to the first.
func Example() {
	ctx := context.Background()
	net := memnet.New(memnet.Config{})
	ca, err := devca.New(time.Hour)
	if err != nil {
		panic(err)
	}
	start := func(node string) *transport.Transport {
		id := transport.Identity{TrustDomain: "example.org", Cluster: "c1", Node: node}
		credentials, err := ca.Issue(id, time.Hour)
		if err != nil {
			panic(err)
		}
		t, err := transport.Listen(ctx, transport.Config{
			ListenAddress: ":7000",
			Network:       net.Host(node),
			Identity:      id,
			Credentials:   credentials,
			Authorize:     func(transport.Kind, transport.PeerInfo) error { return nil },
			Resolve:       func(_ context.Context, node string) (string, error) { return node + ":7000", nil },
		})
		if err != nil {
			panic(err)
		}
		return t
	}
	n1, n2 := start("n1"), start("n2")
	defer n1.Close()
	defer n2.Close()

	go func() {
		conn, err := n2.Dial(ctx, transport.Peer, "n1")
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, "hello")
	}()
	conn, err := n1.Listener(transport.Peer).Accept()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	text, err := io.ReadAll(conn)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s says %s\n", conn.(*transport.Conn).Peer(), text)
	// Output: spiffe://example.org/spire/raft/c1/n2 says hello
}
