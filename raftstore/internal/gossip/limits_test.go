package gossip_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/raftstore/internal/gossip"
)

func dial(t *testing.T, g *gossip.Gossip) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", g.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// awaitEnd reads until the server closes conn.
func awaitEnd(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, err := io.Copy(io.Discard, conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the stream was not closed")
	}
}

// header is what a stranger who knows the cluster id can send: the label, and
// the claim that an encrypted message of n bytes follows.
func header(n uint32) []byte {
	b := append([]byte{244, 4}, "prod"...)
	return append(b, 10, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

func TestGossip_StrangersStreamIsBounded(t *testing.T) {
	t.Parallel()
	g := start(t, config("a"))
	conn := dial(t, g)
	if _, err := conn.Write(header(16 << 20)); err != nil {
		t.Fatal(err)
	}
	written := 0
	chunk := make([]byte, 32<<10)
	if err := conn.SetWriteDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for {
		n, err := conn.Write(chunk)
		written += n
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal("the stream was not closed")
			}
			break
		}
		if written >= 16<<20 {
			t.Fatal("16 MiB were taken")
		}
	}
}

func TestGossip_StalledStreamEnds(t *testing.T) {
	t.Parallel()
	g := start(t, config("a"))
	silent, stalled := dial(t, g), dial(t, g)
	if _, err := stalled.Write(header(1000)); err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, silent)
	awaitEnd(t, stalled)
}

func TestGossip_TooManyStreams(t *testing.T) {
	t.Parallel()
	g := start(t, config("a"))
	const streams = 100
	ended := make(chan struct{}, streams)
	began := time.Now()
	for range streams {
		conn := dial(t, g)
		go func() {
			_, _ = io.Copy(io.Discard, conn)
			ended <- struct{}{}
		}()
	}
	for range streams - 64 {
		<-ended
	}
	if d := time.Since(began); d > 4*time.Second {
		t.Errorf("the streams over the limit ended after %v, with the others", d)
	}
	for range 64 {
		<-ended
	}
	// And then it works as before.
	b := start(t, config("b", g.Addr()))
	eventually(t, "b sees a", sees(b, "a", "a.example:8081", true))
}

func TestGossip_GarbageIsIgnoredAndLoggedSparingly(t *testing.T) {
	var log lockedBuffer
	cfg := config("a")
	cfg.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	g := start(t, cfg)
	udp, err := net.Dial("udp", g.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	packets := [][]byte{{0}, {244}, {244, 0}, {244, 200, 1}, bytes.Repeat([]byte{0xff}, 1400), make([]byte, 3<<10), append([]byte("\xf4\x04prod"), 1, 2, 3)}
	eventually(t, "garbage is noticed", func() bool {
		for _, p := range packets {
			_, _ = udp.Write(p)
		}
		return strings.Count(log.String(), "memberlist") > 50
	})
	for _, b := range packets {
		conn := dial(t, g)
		_, _ = conn.Write(b)
		_ = conn.Close()
	}
	b := start(t, config("b", g.Addr()))
	eventually(t, "b sees a", sees(b, "a", "a.example:8081", true))
	if n := strings.Count(log.String(), "level=WARN"); n < 1 || n > 3 {
		t.Errorf("%d warnings", n)
	}
}

func TestGossip_CloseEndsStreamsInUse(t *testing.T) {
	g := start(t, config("a"))
	conn := dial(t, g)
	if _, err := conn.Write(header(1000)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, conn)
	if d := time.Since(began); d > 4*time.Second {
		t.Errorf("it took %v", d)
	}
}
