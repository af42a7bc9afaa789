package memnet_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spire-raft/spire-raft/transport"
	"github.com/spire-raft/spire-raft/transport/memnet"
)

var _ transport.Network = (*memnet.Host)(nil)

// pair returns both ends of a connection from host a to host b.
func pair(t *testing.T, n *memnet.Net) (a, b net.Conn) {
	t.Helper()
	ln, err := n.Host("b").Listen(t.Context(), "b:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	a, err = n.Host("a").DialContext(t.Context(), ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

func write(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if n, err := c.Write([]byte(s)); n != len(s) || err != nil {
		t.Fatalf("Write(%q) = %d, %v", s, n, err)
	}
}

func wantRead(t *testing.T, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v; want %q", got, err, want)
	}
}

func wantReadError(t *testing.T, c net.Conn, want error) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, want) {
		t.Fatalf("Read = %d, %v; want %v", n, err, want)
	}
}

func TestBytesArriveAfterTheLatencyAndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Config{Seed: 1, Latency: 10 * time.Millisecond, Jitter: 20 * time.Millisecond})
		begin := time.Now()
		a, b := pair(t, n)
		if d := time.Since(begin); d < 20*time.Millisecond || d > 60*time.Millisecond {
			t.Errorf("dial took %v, want a round trip", d)
		}
		begin = time.Now()
		var sent bytes.Buffer
		for i := range 100 {
			p := bytes.Repeat([]byte{byte(i)}, i)
			sent.Write(p)
			if _, err := a.Write(p); err != nil {
				t.Fatal(err)
			}
		}
		if time.Since(begin) != 0 {
			t.Errorf("writes took %v", time.Since(begin))
		}
		wantRead(t, b, sent.String())
		if d := time.Since(begin); d < 10*time.Millisecond || d > 30*time.Millisecond {
			t.Errorf("bytes took %v, want 10-30ms", d)
		}
	})
}

func TestCloseDeliversWhatWasWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Config{Latency: time.Second})
		a, b := pair(t, n)
		write(t, a, "last words")
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		if err := a.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
		wantReadError(t, a, net.ErrClosed)
		if _, err := a.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Write after Close: %v", err)
		}
		wantRead(t, b, "last words")
		wantReadError(t, b, io.EOF)
		wantReadError(t, b, io.EOF)

		write(t, b, "nobody is there") // the first one is on its way before the reset is back
		time.Sleep(3 * time.Second)
		if _, err := b.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("Write after the reset: %v", err)
		}
	})
}

func TestCloseWithUnreadBytesResets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, memnet.New(memnet.Config{}))
		write(t, a, "unread")
		b.Close()
		wantReadError(t, a, syscall.ECONNRESET)
	})
}

func TestDeadlinesEndReadAndWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, memnet.New(memnet.Config{BufferBytes: 10}))
		begin := time.Now()
		a.SetDeadline(begin.Add(time.Second))
		wantReadError(t, a, os.ErrDeadlineExceeded)
		a.SetWriteDeadline(begin.Add(2 * time.Second))
		if n, err := a.Write(make([]byte, 15)); n != 10 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Write = %d, %v", n, err)
		}
		if d := time.Since(begin); d != 2*time.Second {
			t.Errorf("took %v", d)
		}

		// A deadline that is set while a Read waits counts for it.
		a.SetDeadline(time.Time{})
		done := make(chan error)
		go func() {
			_, err := a.Read(make([]byte, 1))
			done <- err
		}()
		synctest.Wait()
		a.SetReadDeadline(time.Now())
		if err := <-done; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Read ended with %v", err)
		}

		// A reader makes room for the writer.
		go func() {
			_, err := a.Write(make([]byte, 15))
			done <- err
		}()
		io.ReadFull(b, make([]byte, 25))
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestCloseEndsBlockedCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := pair(t, memnet.New(memnet.Config{BufferBytes: 1}))
		done := make(chan error)
		go func() { _, err := a.Read(make([]byte, 1)); done <- err }()
		go func() { _, err := a.Write(make([]byte, 2)); done <- err }()
		synctest.Wait()
		a.Close()
		for range 2 {
			if err := <-done; !errors.Is(err, net.ErrClosed) {
				t.Errorf("ended with %v", err)
			}
		}
	})
}

func TestShortCutDelaysLongCutKills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Config{Latency: time.Second})
		a, b := pair(t, n)
		write(t, a, "arrived ")
		time.Sleep(time.Second)
		write(t, a, "on its way ")
		n.Cut("a", "b")
		write(t, a, "sent into the cut")
		write(t, b, "the other direction works")
		wantRead(t, a, "the other direction works")
		wantRead(t, b, "arrived ")
		b.SetReadDeadline(time.Now().Add(20 * time.Second))
		wantReadError(t, b, os.ErrDeadlineExceeded)
		b.SetReadDeadline(time.Time{})
		n.Heal()
		wantRead(t, b, "on its way sent into the cut")

		begin := time.Now()
		n.Cut("b", "a")
		write(t, a, "x")
		wantRead(t, b, "x")
		wantReadError(t, a, syscall.ETIMEDOUT)
		wantReadError(t, b, syscall.ETIMEDOUT)
		if d := time.Since(begin); d != 30*time.Second {
			t.Errorf("connection died after %v", d)
		}
	})
}

func TestCloseDuringACutArrivesAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Config{})
		a, b := pair(t, n)
		n.Cut("a", "b")
		write(t, a, "bye")
		a.Close()
		b.SetReadDeadline(time.Now().Add(time.Second))
		wantReadError(t, b, os.ErrDeadlineExceeded)
		b.SetReadDeadline(time.Time{})
		n.Heal()
		wantRead(t, b, "bye")
		wantReadError(t, b, io.EOF)
	})
}

func TestPartitionCutsBetweenGroupsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Config{})
		names := []string{"a", "b", "c", "d"}
		for _, name := range names {
			ln, err := n.Host(name).Listen(t.Context(), ":7000")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
		}
		reach := func() (pairs string) {
			for _, from := range names {
				for _, to := range names {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					if c, err := n.Host(from).DialContext(ctx, to+":7000"); err == nil {
						c.Close()
						pairs += from + to + " "
					} else if !errors.Is(err, context.DeadlineExceeded) {
						t.Error(err)
					}
					cancel()
				}
			}
			return pairs
		}
		n.Partition([]string{"a", "b"}, []string{"c"})
		if got := reach(); got != "aa ab ba bb cc dd " {
			t.Errorf("reachable: %s", got)
		}
		n.Partition([]string{"a"})
		if got := reach(); got != "aa bb bc bd cb cc cd db dc dd " {
			t.Errorf("reachable: %s", got)
		}
		n.Heal()
		if got := reach(); len(got) != 3*16 {
			t.Errorf("reachable: %s", got)
		}
	})
}

func TestDialWaitsForTheLinkToHeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Config{})
		n.Host("a")
		n.Host("b")
		n.Cut("b", "a")
		time.AfterFunc(5*time.Second, n.Heal)
		begin := time.Now()
		pair(t, n)
		if d := time.Since(begin); d != 5*time.Second {
			t.Errorf("dial took %v", d)
		}
	})
}

func TestResetLosesWhatIsOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Config{Latency: time.Second})
		a, b := pair(t, n)
		write(t, a, "lost")
		n.Reset("b", "a")
		wantReadError(t, b, syscall.ECONNRESET)
		wantReadError(t, a, syscall.ECONNRESET)
		a.Close()
		wantReadError(t, a, net.ErrClosed)
	})
}

func TestStoppedHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Config{Latency: time.Second})
		a, b := pair(t, n)
		host := n.Host("b")
		ln, err := host.Listen(t.Context(), "b:7000")
		if err != nil {
			t.Fatal(err)
		}
		host.Stop()
		if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept: %v", err)
		}
		wantReadError(t, b, net.ErrClosed)
		wantReadError(t, a, syscall.ECONNRESET)
		if _, err := n.Host("a").DialContext(t.Context(), "b:7000"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial to a stopped host: %v", err)
		}
		if _, err := host.DialContext(t.Context(), "a:1"); !errors.Is(err, syscall.ENETDOWN) {
			t.Errorf("dial from a stopped host: %v", err)
		}
		if _, err := host.Listen(t.Context(), "b:7000"); !errors.Is(err, syscall.ENETDOWN) {
			t.Errorf("listen on a stopped host: %v", err)
		}
		host.Start()
		ln, err = host.Listen(t.Context(), "b:7000")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := host.Listen(t.Context(), ":7000"); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("second listener on a port: %v", err)
		}
		if err := ln.Close(); err != nil {
			t.Error(err)
		}
	})
}
