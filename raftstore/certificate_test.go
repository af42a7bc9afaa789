package raftstore

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spire-raft/spire-raft/raftstore/internal/authority"
	"github.com/spire-raft/spire-raft/transport"
	"github.com/spire-raft/spire-raft/transport/memnet"
)

// A certificate of 30 days, with looks at it until 3 days after its end.
func TestCertificateWatch_TellsOncePerStateAndDaily(t *testing.T) {
	var out bytes.Buffer
	w := certificateWatch{log: slog.New(slog.NewTextHandler(&out, nil)), texts: nodeTexts}
	day := 24 * time.Hour
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	end := begin.Add(30 * day)
	lines := func(level string) int {
		n := strings.Count(out.String(), "level="+level)
		out.Reset()
		return n
	}
	until := func(from, to time.Duration) {
		for at := from; at < to; at += time.Minute {
			w.look(begin, end, begin.Add(at))
		}
	}
	for _, tc := range []struct {
		name     string
		from, to time.Duration
		level    string
		lines    int
	}{
		{"long before its end", 0, 20 * day, "", 0},
		{"when a third of its life is left", 20*day + time.Minute, 21 * day, "WARN", 1},
		{"day by day", 21 * day, 30 * day, "WARN", 9},
		{"when it has expired", 30*day + time.Minute, 30*day + time.Hour, "ERROR", 1},
		{"and daily from then on", 30*day + time.Hour, 32 * day, "ERROR", 1},
	} {
		until(tc.from, tc.to)
		if n := lines(tc.level); n != tc.lines {
			t.Errorf("%s: %d lines at %s, want %d", tc.name, n, tc.level, tc.lines)
		}
	}
	w.look(begin.Add(32*day), begin.Add(62*day), begin.Add(32*day))
	if n := lines("INFO"); n != 1 {
		t.Errorf("a new certificate: %d lines", n)
	}
	for at := 33 * day; at < 35*day; at += time.Minute {
		w.fail(errors.New("roots of others"), begin.Add(at))
	}
	if n := lines("ERROR"); n != 2 {
		t.Errorf("two days without a root: %d lines", n)
	}
}

// warningCount counts the warnings of a log.
type warningCount struct{ atomic.Int32 }

func (w *warningCount) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("level=WARN")) {
		w.Add(1)
	}
	return len(line), nil
}

// The cluster's own authority dates back what it makes: of a life of minutes that
// is more than half.
func TestWatchCertificate_ShortLivesAreNotEndingAtOnce(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		const life = 4 * time.Minute
		id := transport.Identity{TrustDomain: authority.TrustDomain("c"), Cluster: "c", Node: "n1"}
		own, err := authority.Found(dir, authority.Leaf{Identity: id, Instance: "i", DiskID: "d", Lifetime: life}, life,
			func(ca *authority.CA) ([]byte, error) { return ca.Key() })
		if err != nil {
			t.Fatal(err)
		}
		tr, err := transport.Listen(t.Context(), transport.Config{
			ListenAddress: "n1:1", Network: memnet.New(memnet.Config{}).Host("n1"), Identity: id, Credentials: own,
			Authorize: func(transport.Kind, transport.PeerInfo) error { return nil },
			Resolve:   func(context.Context, string) (string, error) { return "", nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		defer tr.Close()
		var warnings warningCount
		n := &Node{own: own, transport: tr, log: slog.New(slog.NewTextHandler(&warnings, nil))}
		ctx, cancel := context.WithCancel(t.Context())
		var watch sync.WaitGroup
		watch.Go(func() { n.watchCertificate(ctx) })
		wants := func(lines int) {
			t.Helper()
			synctest.Wait()
			if got := int(warnings.Load()); got != lines {
				t.Errorf("%d warnings, want %d", got, lines)
			}
		}
		wants(0)
		time.Sleep(life * 2 / 3)
		wants(0)
		time.Sleep(life/3 - time.Second)
		wants(2) // the certificate and its authority
		cancel()
		watch.Wait()
	})
}

func TestNotReady(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	fine := Status{Role: RoleFollower, Leader: "node-1", CertificateNotAfter: now.Add(time.Second)}
	if reasons := notReady(fine, now); len(reasons) > 0 {
		t.Errorf("a node that is fine is not ready: %q", reasons)
	}
	for name, c := range map[string]struct {
		change func(*Status)
		want   string
	}{
		"no leader": {func(s *Status) { s.Leader = "" }, "no leader"},
		"no vote":   {func(s *Status) { s.Role = RoleNonVoter }, "no vote"},
		"closed":    {func(s *Status) { s.Role = RoleClosed }, "closed"},
		"removed":   {func(s *Status) { s.Err = ErrRemoved }, ErrRemoved.Error()},
		"expired":   {func(s *Status) { s.CertificateNotAfter = now.Add(-time.Second) }, "expired"},
	} {
		s := fine
		c.change(&s)
		if reasons := notReady(s, now); len(reasons) != 1 || !strings.Contains(reasons[0], c.want) {
			t.Errorf("%s: reasons %q", name, reasons)
		}
	}
}
