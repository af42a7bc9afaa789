package transport_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/spire-raft/spire-raft/transport"
	"github.com/spire-raft/spire-raft/transport/devca"
	"github.com/spire-raft/spire-raft/transport/memnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const port = ":7000"

func id(node string) transport.Identity {
	return transport.Identity{TrustDomain: "example.org", Cluster: "c1", Node: node}
}

func newCA(t testing.TB) *devca.CA {
	t.Helper()
	ca, err := devca.New(1000 * time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issue(t testing.TB, ca *devca.CA, id transport.Identity) *transport.Bundle {
	t.Helper()
	b, err := ca.Issue(id, 100*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// cluster is some nodes on a network in memory. Node n listens on host n.
type cluster struct {
	net *memnet.Net
	ca  *devca.CA
}

func newCluster(t *testing.T) *cluster {
	return &cluster{
		net: memnet.New(memnet.Config{Seed: 1, Latency: time.Millisecond, Jitter: time.Millisecond}),
		ca:  newCA(t),
	}
}

// config is of a node that lets everybody in.
func (c *cluster) config(t *testing.T, node string) transport.Config {
	return transport.Config{
		ListenAddress: port,
		Network:       c.net.Host(node),
		Identity:      id(node),
		Credentials:   issue(t, c.ca, id(node)),
		Authorize:     func(transport.Kind, transport.PeerInfo) error { return nil },
		Resolve:       func(_ context.Context, node string) (string, error) { return node + port, nil },
	}
}

// start starts a node, with changes to its configuration.
func (c *cluster) start(t *testing.T, node string, change ...func(*transport.Config)) *transport.Transport {
	t.Helper()
	cfg := c.config(t, node)
	for _, f := range change {
		f(&cfg)
	}
	return listen(t, cfg)
}

func listen(t testing.TB, cfg transport.Config) *transport.Transport {
	t.Helper()
	tr, err := transport.Listen(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	return tr
}

// echo answers on every stream of a kind with what comes.
func echo(tr *transport.Transport, kind transport.Kind) {
	ln := tr.Listener(kind)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.Copy(conn, conn)
			}()
		}
	}()
}

// accept waits for one stream.
func accept(t *testing.T, tr *transport.Transport, kind transport.Kind) *transport.Conn {
	t.Helper()
	conn, err := tr.Listener(kind).Accept()
	if err != nil {
		t.Fatal(err)
	}
	return conn.(*transport.Conn)
}

func dial(t *testing.T, tr *transport.Transport, kind transport.Kind, node string) *transport.Conn {
	t.Helper()
	conn, err := tr.Dial(t.Context(), kind, node)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// wantEcho checks that conn leads to an echo.
func wantEcho(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello" {
		t.Fatalf("read %q, %v", got, err)
	}
}

// wantEnd checks that conn is over.
func wantEnd(t *testing.T, conn net.Conn) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(time.Hour))
	n, err := conn.Read(make([]byte, 1))
	var timeout net.Error
	if n != 0 || err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatalf("Read = %d, %v; want the end", n, err)
	}
}

func wantErrors(t *testing.T, err error, want ...error) {
	t.Helper()
	for _, w := range want {
		if !errors.Is(err, w) {
			t.Errorf("error is %v; want %v", err, w)
		}
	}
}

// bothRoots trusts two authorities.
func bothRoots(t *testing.T, own *transport.Bundle, others ...*transport.Bundle) *transport.Bundle {
	t.Helper()
	roots := own.Roots.Clone()
	for _, b := range others {
		for _, der := range b.Certificate.Certificate {
			cert, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			roots.AddCert(cert)
		}
	}
	return &transport.Bundle{Certificate: own.Certificate, Roots: roots}
}

// stranger makes a TLS connection to a node from outside, without any check of
// its own.
func (c *cluster) stranger(t *testing.T, node string, cfg *tls.Config) *tls.Conn {
	t.Helper()
	raw, err := c.net.Host("stranger").DialContext(t.Context(), node+port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	cfg.InsecureSkipVerify = true
	return tls.Client(raw, cfg)
}

// logBuffer collects log lines.
type logBuffer struct {
	mu   sync.Mutex
	text []byte
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, b...)
	return len(b), nil
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

func (l *logBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
