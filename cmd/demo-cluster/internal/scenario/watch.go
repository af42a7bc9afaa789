package scenario

import (
	"context"
	"errors"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/check"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/cluster"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/report"
	"github.com/spire-raft/spire-raft/store"
)

const (
	// resumePause is how long a watcher waits before it resumes.
	resumePause = 20 * time.Millisecond

	// refreshInterval is the time between looks at the servers for the display.
	refreshInterval = 500 * time.Millisecond
)

// watch follows all changes through one server until ctx ends, and resumes
// where it was whenever the server has been away.
func (s *session) watch(ctx context.Context, i int) {
	srv, stream := s.Cluster.Servers[i], s.streams[i]
	for {
		cl, err := srv.WaitClient(ctx)
		if err != nil {
			return
		}
		err = cl.Watch(ctx, stream.Cursor(), func(b api.Batch) error {
			now := time.Now()
			stream.Add(b)
			for _, e := range b.Events {
				s.measure(srv.Name, e, now)
			}
			return nil
		})
		if errors.Is(err, store.ErrCompacted) {
			stream.Break(err)
			return
		}
		if pause(ctx, resumePause) != nil {
			return
		}
	}
}

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
	last, acked := time.Now(), make([]int, len(s.streams))
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		rows := s.rows(s.Cluster.Statuses(ctx))
		now := time.Now()
		for i := range rows {
			n := s.ledger.AcknowledgedVia(rows[i].Server)
			rows[i].WritesPerSecond = float64(n-acked[i]) / now.Sub(last).Seconds()
			acked[i] = n
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
		row := report.Row{Server: srv.Name, State: srv.State().String(), Events: s.streams[i].Counts().Events}
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
