package transport_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spire-raft/spire-raft/transport"
	"github.com/spire-raft/spire-raft/transport/devca"
)

// What somebody without a certificate may send, over real TCP: nobody of them
// costs more than a bounded share of memory, nor more time than the handshake
// timeout.
func TestStrangersCostLittle(t *testing.T) {
	const (
		heapMax = 64 << 20
		timeout = time.Second
	)
	garbage := bytes.Repeat([]byte("garbage "), 8<<10)
	// A record of TLS that holds a handshake message of 16 MiB, and a plain
	// frame of 400 MiB.
	hugeHello := append([]byte{22, 3, 1, 0x40, 0x00, 1, 0xff, 0xff, 0xff}, make([]byte, 16<<10)...)
	hugeFrame := append([]byte{0x19, 0, 0, 0}, make([]byte, 64<<10)...)
	for _, tc := range []struct {
		name      string
		strangers int
		send      func(conn net.Conn)
	}{
		{"silent", 300, func(net.Conn) {}},
		{"garbage without end", 300, func(c net.Conn) { sendForEver(c, garbage) }},
		{"a frame of 400 MiB", 300, func(c net.Conn) { sendForEver(c, hugeFrame) }},
		{"a ClientHello of 16 MiB", 300, func(c net.Conn) { sendForEver(c, hugeHello) }},
		{"stalled in the ClientHello", 300, func(c net.Conn) { c.Write(hugeHello[:8<<10]) }},
		{"stalled before its certificate", 100, stallAfterHello},
		{"a certificate without end", 100, sendHugeCertificate},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := tcpConfig(t)
			cfg.HandshakeTimeout = timeout
			cfg.HandshakesMax = 64
			tr := listen(t, cfg)

			before := heapInUse()
			var peak uint64
			var wg sync.WaitGroup
			for range tc.strangers {
				conn, err := net.Dial("tcp", tr.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { conn.Close() })
				wg.Go(func() {
					// Ends when the node has closed the connection.
					conn.SetDeadline(time.Now().Add(30 * time.Second))
					tc.send(conn)
					if _, err := io.Copy(io.Discard, conn); isTimeout(err) {
						t.Error("the connection was never closed")
					}
				})
				peak = max(peak, heapInUse())
			}
			wg.Wait()
			peak = max(peak, heapInUse())
			t.Logf("heap: %d KiB before, %d KiB at the peak", before>>10, peak>>10)
			if peak > before && peak-before > heapMax {
				t.Errorf("the heap grew by %d MiB", (peak-before)>>20)
			}
		})
	}
}

func tcpConfig(t testing.TB) transport.Config {
	return transport.Config{
		ListenAddress: "127.0.0.1:0",
		Identity:      id("n1"),
		Credentials:   issue(t, newCA(t), id("n1")),
		Authorize:     func(transport.Kind, transport.PeerInfo) error { return nil },
		Resolve:       func(_ context.Context, node string) (string, error) { return node, nil },
	}
}

// heapInUse is the size of all objects, and does not stop the world to count.
func heapInUse() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

func sendForEver(c net.Conn, b []byte) {
	for {
		if _, err := c.Write(b); err != nil {
			return
		}
	}
}

// stallAfterHello goes as far as it gets without a certificate, and waits.
func stallAfterHello(c net.Conn) {
	tls.Client(&halfDuplex{Conn: c}, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{transport.Raft.ALPN()}}).Handshake()
}

// halfDuplex swallows what is written after the first message.
type halfDuplex struct {
	net.Conn
	written bool
}

func (h *halfDuplex) Write(b []byte) (int, error) {
	if h.written {
		return len(b), nil
	}
	h.written = true
	return h.Conn.Write(b)
}

// sendHugeCertificate shows a chain of more bytes than a handshake may have.
func sendHugeCertificate(c net.Conn) {
	cfg := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{transport.Raft.ALPN()}}
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return hugeCertificate(), nil
	}
	conn := tls.Client(c, cfg)
	if conn.Handshake() == nil {
		conn.Read(make([]byte, 1))
	}
}

var hugeCA = sync.OnceValue(func() *devca.CA {
	ca, err := devca.New(time.Hour)
	if err != nil {
		panic(err)
	}
	return ca
})

// hugeCertificate has a good leaf and 200 KiB behind it.
var hugeCertificate = sync.OnceValue(func() *tls.Certificate {
	b, err := hugeCA().Issue(id("n2"), time.Hour)
	if err != nil {
		panic(err)
	}
	chain := [][]byte{b.Certificate.Certificate[0]}
	for range 10 {
		chain = append(chain, make([]byte, 20<<10))
	}
	return &tls.Certificate{Certificate: chain, PrivateKey: b.Certificate.PrivateKey}
})

func TestHandshakesAreRationed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		var logged logBuffer
		c.start(t, "n1", func(cfg *transport.Config) { cfg.Log = logged.logger() })
		conn, err := c.net.Host("stranger").DialContext(t.Context(), "n1"+port)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		sendHugeCertificate(conn)
		synctest.Wait()
		if !strings.Contains(logged.String(), "handshake is too long") {
			t.Errorf("log: %s", &logged)
		}
	})
}

func TestStalledStrangersKeepNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		n1 := c.start(t, "n1", func(cfg *transport.Config) { cfg.HandshakesMax = 10 })
		echo(n1, transport.Raft)
		begin := time.Now()
		var oldest net.Conn
		for i := range 100 {
			conn, err := c.net.Host("stranger").DialContext(t.Context(), "n1"+port)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if i == 0 {
				oldest = conn
			}
		}
		wantEnd(t, oldest)
		wantEcho(t, dial(t, c.start(t, "n2"), transport.Raft, "n1"))
		if d := time.Since(begin); d >= 5*time.Second {
			t.Errorf("it took %v, as long as the strangers' timeout", d)
		}
	})
}

func TestHandshakeTimeoutClosesStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		var logged logBuffer
		c.start(t, "n1", func(cfg *transport.Config) { cfg.HandshakeTimeout, cfg.Log = 7*time.Second, logged.logger() })
		conn, err := c.net.Host("stranger").DialContext(t.Context(), "n1"+port)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		begin := time.Now()
		wantEnd(t, conn)
		if d := time.Since(begin).Round(time.Second); d != 7*time.Second {
			t.Errorf("closed after %v", d)
		}
		synctest.Wait()
		if !strings.Contains(logged.String(), transport.ErrHandshakeTimeout.Error()) {
			t.Errorf("log: %s", &logged)
		}
	})
}

func TestRefusalsDoNotFloodTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		var logged logBuffer
		c.start(t, "n1", func(cfg *transport.Config) { cfg.Log = logged.logger() })
		for range 1000 {
			conn, err := c.net.Host("stranger").DialContext(t.Context(), "n1"+port)
			if err != nil {
				t.Fatal(err)
			}
			conn.Write([]byte("GET / HTTP/1.0\r\n\r\n"))
			wantEnd(t, conn)
			conn.Close()
		}
		if n := strings.Count(logged.String(), "\n"); n == 0 || n > 10 {
			t.Errorf("%d lines for 1000 refusals in some seconds", n)
		}
	})
}
