package raftstore_test

import (
	"context"
	"net"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/transport"
)

// patient makes raft's own timeouts so long that what happens sooner is not
// their doing.
func patient(cfg *raftstore.Config) { cfg.Timing.HeartbeatTimeout = 5 * time.Second }

func TestSuccession_DeadLeaderIsReplacedAtOnce(t *testing.T) {
	t.Parallel()
	for _, size := range []int{3, 5} {
		simulate(t, 1, size, patient, func(s *sim) {
			old := s.elected()
			s.sameState()
			s.net.Host(s.name(old)).Stop()
			killed := time.Now()

			next := s.elected(s.others(old)...)
			if _, err := s.node(next).Put(s.ctx, store.Pair{Key: []byte("k"), Value: []byte("v")}); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(killed); took > 2*time.Second {
				t.Errorf("%d nodes: the next write was acknowledged %v after the leader died", size, took)
			}
			s.crash(old)
			s.heal()
			s.sameState()
		})
	}
}

func TestSuccession_OneNodeThatIsRefusedDeposesNobody(t *testing.T) {
	t.Parallel()
	var refusing refusal
	adjust := func(cfg *raftstore.Config) {
		patient(cfg)
		cfg.Network = refusingNetwork{cfg.Network, &refusing, filepath.Base(cfg.Dir)}
	}
	simulate(t, 1, 3, adjust, func(s *sim) {
		leader := s.elected()
		s.sameState()
		term := s.node(leader).Status().Term
		lonely := s.others(leader)[0]
		refusing.set(s.name(lonely), s.name(leader))
		s.net.Reset(s.name(lonely), s.name(leader))

		for range 20 {
			time.Sleep(100 * time.Millisecond) // fake time, while clients go on
			if _, err := s.node(leader).Put(s.ctx, store.Pair{Key: []byte("k"), Value: []byte("v")}); err != nil {
				t.Fatal(err)
			}
		}
		if got := s.node(leader).Status(); got.Role != raftstore.RoleLeader || got.Term != term {
			t.Errorf("the leader of term %d became %s of term %d", term, got.Role, got.Term)
		}
		refusing.set("", "")
		s.sameState()
	})
}

// refusal is a firewall that refuses connections from one host to another.
type refusal struct {
	rule atomic.Pointer[[2]string]
}

func (r *refusal) set(from, to string) { r.rule.Store(&[2]string{from, to}) }

type refusingNetwork struct {
	transport.Network
	refusal *refusal
	from    string // the host that dials
}

func (n refusingNetwork) DialContext(ctx context.Context, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if rule := n.refusal.rule.Load(); rule != nil && rule[1] == host && n.from == rule[0] {
		return nil, syscall.ECONNREFUSED
	}
	return n.Network.DialContext(ctx, address)
}
