package raftstore_test

import (
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/store"
)

// gathered are the numbers that a registry has, by name, with the outcome
// behind a slash where there is one. Of a histogram it is the count.
func gathered(tb testing.TB, r *prometheus.Registry) map[string]float64 {
	tb.Helper()
	families, err := r.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	out := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			parts := []string{f.GetName()}
			for _, l := range m.GetLabel() {
				parts = append(parts, l.GetValue())
			}
			name := strings.Join(parts, "/")
			switch {
			case m.GetHistogram() != nil:
				out[name] = float64(m.GetHistogram().GetSampleCount())
			case m.GetCounter() != nil:
				out[name] = m.GetCounter().GetValue()
			default:
				out[name] = m.GetGauge().GetValue()
			}
		}
	}
	return out
}

// registries gives each node of a cluster a registry of its own.
func registries(into map[string]*prometheus.Registry) func(*raftstore.Config) {
	return func(cfg *raftstore.Config) {
		r := prometheus.NewPedanticRegistry()
		into[filepath.Base(cfg.Dir)] = r
		cfg.Registerer = r
	}
}

func TestMetrics_TellWhatANodeDoes(t *testing.T) {
	t.Parallel()
	regs := make(map[string]*prometheus.Registry)
	c := startCluster(t, 2, registries(regs))
	leader := c.leader()
	n, led := c.nodes[1-leader], c.nodes[leader]

	w, err := n.Watch(c.ctx(), store.Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	const puts = 5
	for range puts {
		if _, err := n.Put(c.ctx(), store.Pair{Key: []byte("k"), Value: value(10)}); err != nil {
			t.Fatal(err)
		}
	}
	for events := 0; events < puts; {
		b, err := w.Next(c.ctx())
		if err != nil {
			t.Fatal(err)
		}
		events += len(b.Events)
	}
	commitWithConflict(c, n)
	c.converged()
	if _, err := n.Revision(c.ctx(), store.Linearizable()); err != nil {
		t.Fatal(err)
	}

	got, theirs, status := gathered(t, regs[n.Status().NodeID]), gathered(t, regs[led.Status().NodeID]), n.Status()
	for name, want := range map[string]float64{
		"commits_total/ok":            puts,
		"commits_total/conflict":      1,
		"commit_seconds":              puts + 1,
		"watch_events_total":          puts,
		"state_hash_mismatches_total": 0,
		"is_leader":                   0,
		"has_leader":                  1,
		"failed":                      0,
		"term":                        float64(status.Term),
		"applied_index":               float64(status.AppliedIndex),
		"revision":                    puts + 1,
		"disk_low":                    0,
		"watchers":                    1,
		"peers":                       1,
		"diverged":                    0,
	} {
		if v, found := got["spire_raft_"+name]; !found || v != want {
			t.Errorf("%s of a follower: got %v (found: %v), want %v", name, v, found, want)
		}
	}
	for name, least := range map[string]float64{
		"read_index_rounds_total/ok":    1,
		"last_log_index":                float64(status.AppliedIndex),
		"durable_index":                 0,
		"commit_index":                  float64(status.AppliedIndex),
		"staleness_seconds":             0,
		"leader_last_contact_seconds":   0,
		"disk_free_bytes":               1,
		"certificate_not_after_seconds": float64(time.Now().Unix()),
	} {
		if v, found := got["spire_raft_"+name]; !found || v < least {
			t.Errorf("%s of a follower: got %v (found: %v), want %v or more", name, v, found, least)
		}
	}
	if theirs["spire_raft_is_leader"] != 1 || theirs["spire_raft_entry_commands"] < puts || theirs["spire_raft_commits_total/ok"] != 1 {
		t.Errorf("the leader has is_leader %v, want 1; entry_commands %v, want %d or more; commits_total of one transaction %v",
			theirs["spire_raft_is_leader"], theirs["spire_raft_entry_commands"], puts, theirs["spire_raft_commits_total/ok"])
	}
}

// commitWithConflict has a transaction on n read what the leader changes before
// it commits.
func commitWithConflict(c *cluster, n *raftstore.Node) {
	c.tb.Helper()
	tx, err := n.Begin(c.ctx(), store.TxOptions{})
	if err != nil {
		c.tb.Fatal(err)
	}
	defer tx.Abort()
	if _, _, err := tx.Get(c.ctx(), []byte("k")); err != nil {
		c.tb.Fatal(err)
	}
	if _, err := c.nodes[c.leader()].Put(c.ctx(), store.Pair{Key: []byte("k")}); err != nil {
		c.tb.Fatal(err)
	}
	if err := tx.Put([]byte("k"), nil); err != nil {
		c.tb.Fatal(err)
	}
	if _, err := tx.Commit(c.ctx()); !errors.Is(err, store.ErrConflict) {
		c.tb.Fatalf("commit: got %v, want %v", err, store.ErrConflict)
	}
}

// TestMetrics_OneRegistryForTwoNodes has a second node refused, since its
// numbers would be mixed up with the first one's, and opened with a registry of
// its own.
func TestMetrics_OneRegistryForTwoNodes(t *testing.T) {
	t.Parallel()
	regs := make(map[string]*prometheus.Registry)
	c := startCluster(t, 1, registries(regs))
	before := slices.Sorted(maps.Keys(gathered(t, regs["node-1"])))

	cfg := c.config("node-2")
	cfg.Join = &raftstore.JoinConfig{Addresses: []string{c.nodes[0].Addr().String()}, Token: c.token()}
	own := cfg.Registerer
	cfg.Registerer = regs["node-1"]
	c.openFails(cfg, nil, "register metrics", "duplicate", "a Registerer of its own")
	if peers := c.nodes[0].Status().Peers; len(peers) != 0 {
		t.Errorf("the node that was not opened is a member: %+v", peers)
	}
	if after := slices.Sorted(maps.Keys(gathered(t, regs["node-1"]))); !slices.Equal(after, before) {
		t.Errorf("of the first node's metrics there are %v, want %v", after, before)
	}

	cfg.Registerer = own
	c.open(cfg)
	if len(gathered(t, regs["node-2"])) == 0 {
		t.Error("the second node has no metrics in its own registry")
	}
}

func TestMetrics_GoneAfterClose(t *testing.T) {
	t.Parallel()
	regs := make(map[string]*prometheus.Registry)
	c := startCluster(t, 1, registries(regs))
	if err := c.nodes[0].Close(); err != nil {
		t.Fatal(err)
	}
	if left := gathered(t, regs["node-1"]); len(left) > 0 {
		t.Errorf("after Close there are still %v", left)
	}
	cfg := c.configs[0]
	cfg.Bootstrap = false
	c.mustOpen(cfg) // with the same registry
	if len(gathered(t, regs["node-1"])) == 0 {
		t.Error("the node that was opened again has no metrics")
	}
}
