package rpc_test

import (
	"context"
	"encoding/binary"
	"net"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/spire-raft/spire-raft/transport/memnet"
	"github.com/spire-raft/spire-raft/transport/rpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func echo(_ context.Context, _ uint8, body []byte) ([]byte, error) { return body, nil }

// pair returns both ends of a connection on a network in memory.
func pair(t *testing.T, n *memnet.Net) (client, server net.Conn) {
	t.Helper()
	ln, err := n.Host("server").Listen(t.Context(), ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err = n.Host("client").DialContext(t.Context(), ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return client, server
}

// serve answers on conn until the test ends or stop is called, which returns
// the error of Serve.
func serve(t *testing.T, conn net.Conn, cfg rpc.Config, h rpc.Handler) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	result := make(chan error, 1)
	go func() { result <- rpc.Serve(ctx, conn, cfg, h) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-result
	})
	t.Cleanup(func() { stop() })
	return stop
}

// client returns a client of a handler, over a network in memory.
func client(t *testing.T, cfg rpc.Config, h rpc.Handler) *rpc.Client {
	t.Helper()
	near, far := pair(t, memnet.New(memnet.Config{}))
	serve(t, far, cfg, h)
	c := rpc.NewClient(near, cfg)
	t.Cleanup(func() { c.Close() })
	return c
}

// requestFrame is a request as package doc has it.
func requestFrame(id uint64, body []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+1+1+8+len(body)))
	b = binary.BigEndian.AppendUint64(b, id)
	b = append(b, 1, 7)
	b = binary.BigEndian.AppendUint64(b, 0)
	return append(b, body...)
}
