package gossip_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/raftstore/internal/gossip"
	"github.com/spire-raft/spire-raft/store"
)

// keyOf returns a key that is told from others by a byte.
func keyOf(fill byte) []byte { return bytes.Repeat([]byte{fill}, gossip.KeyBytes) }

// keyless is config without a key.
func keyless(id string, seeds ...string) gossip.Config {
	cfg := config(id, seeds...)
	cfg.Key = nil
	return cfg
}

func use(t *testing.T, g *gossip.Gossip, instance string, keys ...[]byte) {
	t.Helper()
	if err := g.Use(instance, keys); err != nil {
		t.Fatal(err)
	}
}

// logged makes a node log all there is to say, and returns the log.
func logged(cfg *gossip.Config) *lockedBuffer {
	var log lockedBuffer
	cfg.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	return &log
}

// triedInVain waits until a node has tried to join its seeds again and again.
func triedInVain(t *testing.T, log *lockedBuffer) {
	t.Helper()
	before := strings.Count(log.String(), "can't join seed")
	eventually(t, "it tries to join in vain", func() bool { return strings.Count(log.String(), "can't join seed") >= before+3 })
}

func TestUse_BeginsToGossip(t *testing.T) {
	a := start(t, keyless("a"))
	if a.Addr() == "" {
		t.Error("it has no port yet")
	}
	conn := dial(t, a)
	awaitEnd(t, conn) // nobody is listened to before there is a key
	if err := errors.Join(a.Update("elsewhere:1"), a.Leave(time.Second)); err != nil {
		t.Errorf("before there is a key: %v", err)
	}
	b := start(t, keyless("b", a.Addr()))
	use(t, b, "i1", keyOf(1))
	use(t, a, "i1", keyOf(1))
	eventually(t, "b sees a", sees(b, "a", "elsewhere:1", true))
	eventually(t, "a sees b", sees(a, "b", "b.example:8081", true))
}

func TestUse_Refused(t *testing.T) {
	g := start(t, keyless("a"))
	for name, c := range map[string]struct {
		instance string
		keys     [][]byte
	}{
		"no instance":   {"", [][]byte{keyOf(1)}},
		"long instance": {strings.Repeat("i", 65), [][]byte{keyOf(1)}},
		"no key":        {"i1", nil},
		"short key":     {"i1", [][]byte{keyOf(1), {1}}},
	} {
		if err := g.Use(c.instance, c.keys); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if err := g.Use("i1", [][]byte{keyOf(1)}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	ln, err := net.Listen("tcp", g.Addr())
	if err != nil {
		t.Fatalf("the port is still taken: %v", err)
	}
	_ = ln.Close()
}

// TestUse_ReplacesTheKeyOfAll goes through the steps of a rotation. A node that is
// left out hears nothing afterwards, and is not heard.
func TestUse_ReplacesTheKeyOfAll(t *testing.T) {
	a := start(t, keyless("a"))
	b := start(t, keyless("b", a.Addr()))
	cfg := keyless("c", a.Addr(), b.Addr())
	log := logged(&cfg)
	removed := start(t, cfg)
	for _, g := range []*gossip.Gossip{a, b, removed} {
		use(t, g, "i1", keyOf(1))
	}
	eventually(t, "all see each other", func() bool {
		return len(a.Members()) == 2 && len(b.Members()) == 2 && len(removed.Members()) == 2
	})
	moves := func(address string) {
		t.Helper()
		if err := b.Update(address); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a hears of "+address, sees(a, "b", address, true))
	}
	use(t, a, "i1", keyOf(1), keyOf(2))
	moves("one:1")
	use(t, b, "i1", keyOf(1), keyOf(2))
	moves("two:1")
	use(t, b, "i1", keyOf(2), keyOf(1))
	moves("three:1")
	use(t, a, "i1", keyOf(2), keyOf(1))
	use(t, b, "i1", keyOf(2))
	moves("four:1")
	use(t, a, "i1", keyOf(2))
	moves("five:1")

	_ = removed.Update("nowhere:1") // whether it thinks that somebody has heard is all the same
	triedInVain(t, log)
	if sees(a, "c", "nowhere:1", true)() || sees(b, "c", "nowhere:1", true)() {
		t.Error("the removed node is heard")
	}
	if sees(removed, "b", "five:1", true)() {
		t.Error("the removed node hears")
	}
	if text := log.String(); strings.Contains(text, string(keyOf(1))) {
		t.Error("the key is in the log")
	}
}

// TestUse_WhileOthersTalk has the race detector look at keys that change under
// memberlist.
func TestUse_WhileOthersTalk(t *testing.T) {
	a := start(t, keyless("a"))
	b := start(t, keyless("b", a.Addr()))
	use(t, a, "i1", keyOf(1), keyOf(2), keyOf(3))
	use(t, b, "i1", keyOf(1), keyOf(2), keyOf(3))
	eventually(t, "b sees a", sees(b, "a", "a.example:8081", true))
	for i := range byte(20) {
		use(t, a, "i1", keyOf(1+i%3), keyOf(1+(i+1)%3), keyOf(1+(i+2)%3))
		use(t, a, "i1", keyOf(1+(i+1)%3), keyOf(1+i%3))
		if err := b.Update(strings.Repeat("b", int(i)+1)); err != nil {
			t.Fatal(err)
		}
	}
	use(t, a, "i1", keyOf(3), keyOf(2), keyOf(1))
	eventually(t, "a hears b", sees(a, "b", strings.Repeat("b", 20), true))
}

// Two lives of one cluster don't merge, even where the key is the same.
func TestGossip_InstancesDontMerge(t *testing.T) {
	t.Run("the key is the cluster's own", func(t *testing.T) {
		a := start(t, keyless("a"))
		use(t, a, "i1", keyOf(1))
		cfg := keyless("b", a.Addr())
		log := logged(&cfg)
		b := start(t, cfg)
		use(t, b, "i2", keyOf(1))
		triedInVain(t, log)
		if got := append(a.Members(), b.Members()...); len(got) != 0 {
			t.Errorf("they see %v", got)
		}
	})
	t.Run("the key is from elsewhere", func(t *testing.T) {
		a := start(t, config("a"))
		cfg := config("b", a.Addr())
		log := logged(&cfg)
		b, err := gossip.Start(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close() })
		eventually(t, "b is heard before it has an instance", sees(a, "b", "b.example:8081", true))
		if err := errors.Join(a.SetInstance("i1"), b.SetInstance("i2")); err != nil {
			t.Fatal(err)
		}
		triedInVain(t, log)
		_ = b.Update("moved:1")
		triedInVain(t, log)
		if sees(a, "b", "moved:1", true)() {
			t.Error("the node of another instance is heard")
		}
	})
}

// A node with another key hears and is heard where both know both keys.
func TestGossip_OtherKeys(t *testing.T) {
	cfg := config("a")
	cfg.OtherKeys = [][]byte{keyOf(9)}
	a := start(t, cfg)
	cfg = config("b", a.Addr())
	cfg.Key, cfg.OtherKeys = keyOf(9), [][]byte{key}
	b := start(t, cfg)
	eventually(t, "a sees b", sees(a, "b", "b.example:8081", true))
	eventually(t, "b sees a", sees(b, "a", "a.example:8081", true))
}
