package raftstore_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spire-raft/spire-raft/raftstore"
)

// auditLog is a slog.Handler that keeps audit lines and drops the rest.
type auditLog struct {
	slog.Handler // for what isn't an audit line
	own          []slog.Attr
	to           *auditLines
}

type auditLines struct {
	mu    sync.Mutex // guards lines
	lines []map[string]string
}

func (l *auditLog) Enabled(context.Context, slog.Level) bool { return true }

func (l *auditLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &auditLog{Handler: l.Handler, own: slices.Concat(l.own, attrs), to: l.to}
}

func (l *auditLog) Handle(_ context.Context, r slog.Record) error {
	line := make(map[string]string)
	keep := func(a slog.Attr) bool {
		line[a.Key] = a.Value.String()
		return true
	}
	for _, a := range l.own {
		keep(a)
	}
	r.Attrs(keep)
	if line["audit"] == "" {
		return nil
	}
	l.to.mu.Lock()
	defer l.to.mu.Unlock()
	l.to.lines = append(l.to.lines, line)
	return nil
}

// take adds the log to a node's configuration.
func (l *auditLines) take(cfg *raftstore.Config) {
	cfg.Logger = slog.New(&auditLog{Handler: slog.DiscardHandler, to: l})
}

// of are the lines about an event, and about a server unless that is empty.
func (l *auditLines) of(event, server string) []map[string]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []map[string]string
	for _, line := range l.lines {
		if line["audit"] == event && (server == "" || line["server"] == server) {
			out = append(out, line)
		}
	}
	return out
}

// wantOne fails unless there is exactly one line about an event, that the node
// has written, with these attributes.
func (l *auditLines) wantOne(t *testing.T, event, server, node string, attrs map[string]string) map[string]string {
	t.Helper()
	lines := l.of(event, server)
	if len(lines) != 1 {
		t.Fatalf("%d lines tell of %s of %q: %v", len(lines), event, server, lines)
	}
	attrs["node"] = node
	for key, want := range attrs {
		if got := lines[0][key]; got != want && !(want == "*" && got != "") {
			t.Errorf("%s of %q: %s is %q, want %q", event, server, key, got, want)
		}
	}
	return lines[0]
}

// TestAudit_OneLineForEachChangeOnItsLeader lets a cluster live: who asked, from
// where, with which token, is told once, by the leader.
func TestAudit_OneLineForEachChangeOnItsLeader(t *testing.T) {
	t.Parallel()
	var audit auditLines
	regs := make(map[string]*prometheus.Registry)
	c := startCluster(t, 3, func(cfg *raftstore.Config) {
		ownAuthority(cfg)
		audit.take(cfg)
		registries(regs)(cfg)
	})
	leader, asker := c.nodes[0], c.nodes[1]
	audit.wantOne(t, "cluster_founded", "node-1", "node-1", map[string]string{"by": "node-1", "key": "*", "disk": "*", "instance": "*"})

	token, err := asker.CreateJoinTokenFor(c.ctx(), "node-9", time.Hour)
	must(t, err)
	asked := map[string]string{"by": "node-2", "from": "127.0.0.1", "token": "*", "expires": "*"}
	id := audit.wantOne(t, "token_created", "node-9", "node-1", asked)["token"]
	must(t, asker.RevokeJoinToken(c.ctx(), id))
	audit.wantOne(t, "token_revoked", "", "node-1", map[string]string{"by": "node-2", "token": id})
	c.openFails(c.joinWith("node-9", token), raftstore.ErrToken)
	refused := map[string]string{"from": "127.0.0.1", "token": id, "error": "*", "key": "*"}
	if line := audit.wantOne(t, "join_refused", "node-9", "node-1", refused); line["by"] != "" {
		t.Errorf("a stranger counts as %q", line["by"])
	}

	granted := audit.wantOne(t, "join_granted", "node-2", "node-1", map[string]string{"token": "*", "disk": "*", "key": "*"})
	audit.wantOne(t, "server_added", "node-2", "node-1", map[string]string{"token": granted["token"], "address": "*"})
	audit.wantOne(t, "server_promoted", "node-2", "node-1", map[string]string{"by": "node-1"})
	audit.wantOne(t, "certificate_issued", "node-2", "node-1",
		map[string]string{"key": granted["key"], "token": granted["token"], "serial": "*", "not_after": "*"})

	must(t, asker.RemoveServer(c.ctx(), "node-3"))
	audit.wantOne(t, "node_barred", "node-3", "node-1", map[string]string{"by": "node-2", "from": "127.0.0.1", "member": "true"})
	audit.wantOne(t, "server_removed", "node-3", "node-1", map[string]string{"by": "node-2"})
	must(t, leader.RemoveServer(c.ctx(), "evil"))
	audit.wantOne(t, "node_barred", "evil", "node-1", map[string]string{"by": "node-1", "from": "", "member": "false"})
	c.eventually("the removed node knows", func() error {
		if err := c.nodes[2].Status().Err; !errors.Is(err, raftstore.ErrRemoved) {
			return fmt.Errorf("error %v", err)
		}
		return nil
	})
	audit.wantOne(t, "removal_learned", "node-3", "node-3", map[string]string{"told_by": "*"})
	for node, want := range map[string]float64{"node-1": 0, "node-3": 1} {
		if got := gathered(t, regs[node])["spire_raft_removed"]; got != want {
			t.Errorf("%s: spire_raft_removed is %v, want %v", node, got, want)
		}
	}

	audit.mu.Lock()
	defer audit.mu.Unlock()
	for _, line := range audit.lines {
		for _, text := range line {
			if strings.Contains(text, token) {
				t.Errorf("a line has the token: %v", line)
			}
		}
	}
}

func TestAudit_Renewals(t *testing.T) {
	t.Parallel()
	var audit auditLines
	c := startCluster(t, 2, func(cfg *raftstore.Config) {
		ownAuthority(cfg)
		audit.take(cfg)
		cfg.CertificateLifetime = 3 * time.Second
	})
	c.eventually("certificates are renewed", func() error {
		for _, node := range []string{"node-1", "node-2"} {
			if len(audit.of("certificate_renewed", node)) == 0 {
				return fmt.Errorf("not that of %s", node)
			}
		}
		return nil
	})
	line := audit.of("certificate_renewed", "node-2")[0]
	if line["by"] != "node-2" || line["key"] == "" || line["serial"] == "" || line["from"] == "" {
		t.Errorf("the line is %v", line)
	}
	forged, err := c.nodes[0].Forge(t.TempDir(), "node-2")
	must(t, err)
	request, err := forged.Request()
	must(t, err)
	for range 50 {
		if _, err := c.nodes[0].RenewFor(c.ctx(), "node-2", request); !errors.Is(err, raftstore.ErrNotMember) {
			t.Fatalf("another key is renewed: %v", err)
		}
	}
	if n := len(audit.of("renewal_refused", "node-2")); n == 0 || n > 10 {
		t.Errorf("50 refusals made %d lines", n)
	}
}

// TestAudit_StrangersCantFloodTheLog: a source that is refused again and again
// gets a few lines, and what was left out is counted.
func TestAudit_StrangersCantFloodTheLog(t *testing.T) {
	t.Parallel()
	var l raftstore.RefusalLines
	now := time.Unix(1_000_000, 0)
	written := 0
	for i := range 1000 {
		if _, ok := l.Take("192.0.2.1", now.Add(time.Duration(i)*time.Millisecond)); ok {
			written++
		}
	}
	leftOut, ok := l.Take("192.0.2.2", now)
	if written != 10 || !ok || leftOut != 990 {
		t.Errorf("%d of 1000 lines were written, and another source's next line is written (%v) and tells of %d", written, ok, leftOut)
	}
	for i := range 100_000 {
		if _, ok := l.Take((&net.IPAddr{IP: net.IPv4(10, byte(i>>16), byte(i>>8), byte(i))}).String(), now); ok {
			written++
		}
	}
	if written > 100 {
		t.Errorf("%d lines within a minute", written)
	}
	if leftOut, ok := l.Take("192.0.2.1", now.Add(time.Minute)); !ok || leftOut == 0 {
		t.Errorf("a minute later a line is written: %v, and tells of %d", ok, leftOut)
	}
}
