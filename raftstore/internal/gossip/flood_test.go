package gossip

import (
	"net"
	"testing"
)

// Connections that say nothing don't keep out the one that comes after them.
func TestSilentStreamsMakeRoomForANewOne(t *testing.T) {
	tr, err := listen(t.Context(), "127.0.0.1:0", "")
	if err != nil {
		t.Fatal(err)
	}
	tr.open.Store(true)
	defer func() {
		if err := tr.Shutdown(); err != nil {
			t.Error(err)
		}
	}()
	for i := range 3 * streamsMax {
		conn, err := net.Dial("tcp", tr.addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if got := (<-tr.streams).RemoteAddr().String(); got != conn.LocalAddr().String() {
			t.Fatalf("stream %d is from %s, want %s", i, got, conn.LocalAddr())
		}
	}
	tr.mu.Lock()
	counted, kept := tr.inbound, len(tr.conns)
	tr.mu.Unlock()
	if counted != streamsMax || kept != streamsMax {
		t.Errorf("%d streams are counted, %d kept; want %d", counted, kept, streamsMax)
	}
}
