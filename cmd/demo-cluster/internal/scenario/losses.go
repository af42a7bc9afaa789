package scenario

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/cluster"
)

// loss is a disk that is to be lost.
type loss struct {
	at       time.Duration // from the beginning of chaos
	ofLeader bool          // else of a follower
	follower int           // which one, modulo how many there are
}

// planLosses says when which disks are lost in a run: one in each part of
// diskLossEvery, one at least. The moments leave time for the loss to happen
// before its part is over.
func planLosses(whole time.Duration, rng *rand.Rand) []loss {
	var losses []loss
	for _, at := range moments(whole, diskLossEvery, rng) {
		losses = append(losses, loss{at: at, ofLeader: rng.IntN(2) == 0, follower: rng.IntN(1 << 10)})
	}
	return losses
}

// moments returns a random one in the first half of each part of a run, whose
// parts are about as long as every.
func moments(whole, every time.Duration, rng *rand.Rand) []time.Duration {
	parts := max(1, whole/every)
	part := whole / parts
	var out []time.Duration
	for i := range parts {
		out = append(out, i*part+time.Duration(rng.Int64N(int64(part/2)+1)))
	}
	return out
}

// lose has the next disk lost, and its server replaced.
func (m *monkey) lose(ctx context.Context, leader *cluster.Server) error {
	next := m.losses[0]
	m.losses = m.losses[1:]
	m.count++
	victim := leader
	if !next.ofLeader {
		followers := m.followers(leader)
		victim = followers[next.follower%len(followers)]
	}
	r, err := m.loseDisk(ctx, victim)
	if err != nil {
		return err
	}
	if victim == leader {
		m.lastFailover = time.Now()
	}
	m.Display.Printf("      %s, in the place of %s, has its vote and all the data %.1f s after the loss", r.came, r.gone, r.took.Seconds())
	return nil
}

// followers are all servers but the leader.
func (s *session) followers(leader *cluster.Server) []*cluster.Server {
	var out []*cluster.Server
	for _, srv := range s.Cluster.Servers {
		if srv != leader {
			out = append(out, srv)
		}
	}
	return out
}
