package raftstore

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
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
