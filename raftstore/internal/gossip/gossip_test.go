package gossip_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"go.uber.org/goleak"

	"github.com/spire-raft/spire-raft/raftstore/internal/gossip"
	"github.com/spire-raft/spire-raft/store"
)

// TestMain waits for the goroutines that memberlist leaves to end.
func TestMain(m *testing.M) {
	code := m.Run()
	for end := time.Now().Add(10 * time.Second); code == 0; {
		err := goleak.Find()
		if err == nil {
			break
		}
		if time.Now().After(end) {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

var key = bytes.Repeat([]byte{7}, gossip.KeyBytes)

// heard collects what OnAddress was told.
type heard struct {
	mu sync.Mutex
	at map[string]string
}

func (h *heard) onAddress(id, address string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.at == nil {
		h.at = map[string]string{}
	}
	h.at[id] = address
}

func (h *heard) get(id string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at[id]
}

func config(id string, seeds ...string) gossip.Config {
	return gossip.Config{
		NodeID: id, ClusterID: "prod", BindAddress: "127.0.0.1:0", Key: key, Seeds: seeds,
		Address: id + ".example:8081", RejoinInterval: 100 * time.Millisecond,
	}
}

func start(t *testing.T, cfg gossip.Config) *gossip.Gossip {
	t.Helper()
	g, err := gossip.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func sees(g *gossip.Gossip, id, address string, alive bool) func() bool {
	return func() bool {
		return slices.Contains(g.Members(), (gossip.Member{NodeID: id, Address: address, Alive: alive}))
	}
}

func TestGossip_ThreeNodesFindEachOther(t *testing.T) {
	a := start(t, config("a"))
	var heardB, heardC heard
	cfg := config("b", a.Addr())
	cfg.OnAddress = heardB.onAddress
	b := start(t, cfg)
	_, port, _ := net.SplitHostPort(a.Addr())
	cfg = config("c", "localhost:"+port) // a DNS name
	cfg.OnAddress = heardC.onAddress
	c := start(t, cfg)
	nodes := map[string]*gossip.Gossip{"a": a, "b": b, "c": c}
	for from, g := range nodes {
		for to := range nodes {
			if from != to {
				eventually(t, from+" sees "+to, sees(g, to, to+".example:8081", true))
			}
		}
		if n := len(g.Members()); n != 2 {
			t.Errorf("%s has %d members", from, n)
		}
	}
	eventually(t, "b is told of c", func() bool { return heardB.get("c") == "c.example:8081" })
	eventually(t, "c is told of a and b", func() bool { return heardC.get("a") != "" && heardC.get("b") != "" })

	if err := c.Update("elsewhere:1"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a sees the update", sees(a, "c", "elsewhere:1", true))
	eventually(t, "b is told the update", func() bool { return heardB.get("c") == "elsewhere:1" })

	if err := c.Leave(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a sees that c left", sees(a, "c", "elsewhere:1", false))
	eventually(t, "b sees that c left", sees(b, "c", "elsewhere:1", false))
}

func TestGossip_NodeComesBackAtAnotherAddress(t *testing.T) {
	var told heard
	cfg := config("a")
	cfg.OnAddress = told.onAddress
	a := start(t, cfg)
	b := start(t, config("b", a.Addr()))
	eventually(t, "a sees b", sees(a, "b", "b.example:8081", true))
	if err := errors.Join(b.Leave(5*time.Second), b.Close()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a sees that b left", sees(a, "b", "b.example:8081", false))
	cfg = config("b", a.Addr())
	cfg.Address = "moved:1"
	start(t, cfg)
	eventually(t, "a sees b again", sees(a, "b", "moved:1", true))
	eventually(t, "a is told", func() bool { return told.get("b") == "moved:1" })
}

func TestGossip_SeedThatComesUpLater(t *testing.T) {
	a := start(t, config("a"))
	addr := a.Addr()
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	b := start(t, config("b", addr))
	cfg := config("a")
	cfg.BindAddress = addr
	start(t, cfg)
	eventually(t, "b sees a", sees(b, "a", "a.example:8081", true))
}

func TestGossip_StrangersAreNotSeen(t *testing.T) {
	for name, change := range map[string]func(*gossip.Config){
		"another cluster": func(c *gossip.Config) { c.ClusterID = "test" },
		"another key":     func(c *gossip.Config) { c.Key = bytes.Repeat([]byte{8}, gossip.KeyBytes) },
	} {
		t.Run(name, func(t *testing.T) {
			a := start(t, config("a"))
			cfg := config("b", a.Addr())
			change(&cfg)
			var log lockedBuffer
			cfg.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			b := start(t, cfg)
			eventually(t, "b has tried to join twice", func() bool { return strings.Count(log.String(), "can't join seed") >= 2 })
			if got := append(a.Members(), b.Members()...); len(got) != 0 {
				t.Errorf("they see %v", got)
			}
		})
	}
}

// A node that has the key but says that it is of another cluster, or nothing
// that makes sense, is refused by the delegates.
func TestGossip_KeyHolderWithWrongMetaIsNotSeen(t *testing.T) {
	for name, meta := range map[string]string{
		"other cluster": "\x01\x04test\x03b:1",
		"no meta":       "",
		"garbage":       "\xff\xff\xff",
	} {
		t.Run(name, func(t *testing.T) {
			a := start(t, config("a"))
			c := memberlist.DefaultLocalConfig()
			c.Name, c.Label, c.SecretKey, c.LogOutput = "b", "prod", key, io.Discard
			c.BindAddr, c.BindPort, c.AdvertisePort = "127.0.0.1", 0, 0
			c.Delegate = metaDelegate(meta)
			m, err := memberlist.Create(c)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := m.Shutdown(); err != nil {
					t.Error(err)
				}
			}()
			// a sends its state before it looks at ours, so Join may succeed.
			for range 3 {
				_, _ = m.Join([]string{a.Addr()})
			}
			if got := a.Members(); len(got) != 0 {
				t.Errorf("a sees %v", got)
			}
		})
	}
}

type metaDelegate string

func (d metaDelegate) NodeMeta(int) []byte           { return []byte(d) }
func (metaDelegate) NotifyMsg([]byte)                {}
func (metaDelegate) GetBroadcasts(int, int) [][]byte { return nil }
func (metaDelegate) LocalState(bool) []byte          { return nil }
func (metaDelegate) MergeRemoteState([]byte, bool)   {}

func TestStart_PortInUse(t *testing.T) {
	a := start(t, config("a"))
	cfg := config("b")
	cfg.BindAddress = a.Addr()
	_, err := gossip.Start(t.Context(), cfg)
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), a.Addr()) {
		t.Errorf("got %v", err)
	}

	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	cfg.BindAddress = udp.LocalAddr().String()
	if _, err := gossip.Start(t.Context(), cfg); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("port in use for UDP: got %v", err)
	}
}

func TestStart_BadConfig(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*gossip.Config)
		says   string
	}{
		"short other key":    {func(c *gossip.Config) { c.OtherKeys = [][]byte{c.Key, c.Key[:16]} }, "OtherKeys"},
		"too many keys":      {func(c *gossip.Config) { c.OtherKeys = slices.Repeat([][]byte{c.Key}, gossip.OtherKeysMax+1) }, "OtherKeys"},
		"short key":          {func(c *gossip.Config) { c.Key = c.Key[:16] }, "Key"},
		"node id":            {func(c *gossip.Config) { c.NodeID = "A" }, "NodeID"},
		"cluster id":         {func(c *gossip.Config) { c.ClusterID = "" }, "ClusterID"},
		"bind address":       {func(c *gossip.Config) { c.BindAddress = "localhost" }, "BindAddress"},
		"port out of range":  {func(c *gossip.Config) { c.BindAddress = "localhost:70000" }, "BindAddress"},
		"advertise address":  {func(c *gossip.Config) { c.AdvertiseAddress = "x" }, "AdvertiseAddress"},
		"seed":               {func(c *gossip.Config) { c.Seeds = []string{"x"} }, "Seeds"},
		"too many seeds":     {func(c *gossip.Config) { c.Seeds = make([]string, gossip.SeedsMax+1) }, "Seeds"},
		"no address":         {func(c *gossip.Config) { c.Address = "" }, "Address"},
		"long address":       {func(c *gossip.Config) { c.Address = strings.Repeat("x", 256) }, "Address"},
		"negative interval":  {func(c *gossip.Config) { c.RejoinInterval = -1 }, "RejoinInterval"},
		"all interfaces":     {func(c *gossip.Config) { c.BindAddress = "0.0.0.0:0" }, "advertise address"},
		"name that is not":   {func(c *gossip.Config) { c.AdvertiseAddress = "no-such-host.invalid:1" }, "advertise address"},
		"everything at once": {func(c *gossip.Config) { c.NodeID, c.Key = "", []byte{1} }, "NodeID"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config("a")
			tc.change(&cfg)
			g, err := gossip.Start(t.Context(), cfg)
			if err == nil {
				t.Fatal(errors.Join(errors.New("started"), g.Close()))
			}
			if !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%v, want it to name %s", err, tc.says)
			}
		})
	}
}

func TestGossip_AdvertisedNameIsLookedUp(t *testing.T) {
	cfg := config("a")
	cfg.BindAddress, cfg.AdvertiseAddress = "0.0.0.0:0", "localhost:0"
	a := start(t, cfg)
	_, port, _ := net.SplitHostPort(a.Addr())
	b := start(t, config("b", "127.0.0.1:"+port))
	eventually(t, "b sees a", sees(b, "a", "a.example:8081", true))
}

func TestGossip_AfterClose(t *testing.T) {
	g, err := gossip.Start(t.Context(), config("a", "127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(g.Close(), g.Close()); err != nil {
		t.Fatal(err)
	}
	if err := g.Update("b:1"); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Update: %v", err)
	}
	if err := g.Leave(time.Second); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Leave: %v", err)
	}
	ln, err := net.Listen("tcp", g.Addr())
	if err != nil {
		t.Fatalf("the port is still taken: %v", err)
	}
	_ = ln.Close()
}

func TestGossip_UpdateWithBadAddress(t *testing.T) {
	g := start(t, config("a"))
	if err := g.Update(""); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

func TestGossip_StartContextDoesNotEndIt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	a := start(t, config("a"))
	b, err := gossip.Start(ctx, config("b", a.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	cancel()
	eventually(t, "a sees b", sees(a, "b", "b.example:8081", true))
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
