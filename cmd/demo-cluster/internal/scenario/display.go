package scenario

import (
	"context"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/check"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/cluster"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/report"
)

// refreshInterval is the time between looks at the servers for the display.
const refreshInterval = 500 * time.Millisecond

// measure takes the time that a write through another server took to get here.
func (s *session) measure(here string, e api.Event, now time.Time) {
	write := check.WriteOf(e)
	if write == "" {
		return
	}
	if sent, via, ok := s.ledger.Sent(write); ok && via != "" && via != here {
		s.latencies.Add(sent, now)
	}
}

// refresh keeps the display up to date until ctx ends.
func (s *session) refresh(ctx context.Context) {
	tick := time.NewTicker(refreshInterval)
	defer tick.Stop()
	last, acked := time.Now(), make(map[string]int) // by server
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		statuses := s.Cluster.Statuses(ctx)
		rows, now := s.rows(statuses), time.Now()
		for i, status := range statuses {
			s.certificates.look(rows[i].Server, status, now)
		}
		for i := range rows {
			n := s.ledger.AcknowledgedVia(rows[i].Server)
			rows[i].WritesPerSecond = float64(n-acked[rows[i].Server]) / now.Sub(last).Seconds()
			acked[rows[i].Server] = n
		}
		last = now
		s.Display.Servers(rows)
	}
}

// rows are the servers as the display shows them, but for their writes.
func (s *session) rows(statuses []*api.Status) []report.Row {
	var newest uint64
	for _, status := range statuses {
		if status != nil {
			newest = max(newest, status.AppliedIndex)
		}
	}
	rows := make([]report.Row, len(statuses))
	for i, status := range statuses {
		srv := s.Cluster.Servers[i]
		row := report.Row{Server: srv.Name(), State: srv.State().String(), Events: s.watchers.stream(i).Counts().Events}
		switch {
		case status != nil:
			row.Known = true
			row.Role, row.Term = status.Role, status.Term
			row.Applied, row.Lag = status.AppliedIndex, newest-status.AppliedIndex
			if status.Leader == "" {
				row.State = "no leader"
			}
		case srv.State() == cluster.Running:
			row.State = "no answer"
		}
		rows[i] = row
	}
	return rows
}
