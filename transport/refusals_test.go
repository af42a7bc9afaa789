package transport_test

import (
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spire-raft/spire-raft/transport"
)

func TestOnRefuse_CountsByReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		got := make(map[string]int)
		reasons := make(chan string, 10)
		c.start(t, "n1", func(cfg *transport.Config) {
			cfg.OnRefuse = func(reason string) { reasons <- reason }
			cfg.Authorize = func(transport.Kind, transport.PeerInfo) error { return transport.ErrRemovedPeer }
		})
		n2 := c.start(t, "n2")
		for range 2 {
			if _, err := n2.Dial(t.Context(), transport.Raft, "n1"); err == nil {
				t.Fatal("n2 was not refused")
			}
		}
		stranger, err := c.net.Host("stranger").DialContext(t.Context(), "n1"+port)
		if err != nil {
			t.Fatal(err)
		}
		defer stranger.Close()
		quiet, err := c.net.Host("stranger").DialContext(t.Context(), "n1"+port)
		if err != nil {
			t.Fatal(err)
		}
		defer quiet.Close()
		stranger.Write([]byte("GET / HTTP/1.0\r\n\r\n"))
		time.Sleep(time.Minute)
		for range len(reasons) {
			got[<-reasons]++
		}
		if want := map[string]int{"removed": 2, "handshake": 1, "timeout": 1}; !maps.Equal(got, want) {
			t.Errorf("refused %v, want %v", got, want)
		}
	})
}
