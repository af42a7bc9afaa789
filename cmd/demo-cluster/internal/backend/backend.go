package backend

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"syscall"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/node"
	"github.com/spire-raft/spire-raft/raftstore"
)

// promoteAfter is shorter than a cluster with slow disks would want: a demo has
// no time to lose.
const promoteAfter = 300 * time.Millisecond

var (
	_ node.OpenFunc = Open
	_ node.Backend  = (*replica)(nil)
)

// replica is a node of the replicated store.
type replica struct{ *raftstore.Node }

// Open initialises the data directory where that is still to be done, and
// opens the store in it.
func Open(ctx context.Context, setup api.Setup, log *slog.Logger) (node.Backend, api.Addresses, error) {
	if _, err := raftstore.Init(setup.Dir, setup.Cluster, setup.Node); err != nil {
		return nil, api.Addresses{}, err
	}
	cfg := config(setup, log)
	n, err := raftstore.Open(ctx, cfg)
	if errors.Is(err, syscall.EADDRINUSE) {
		log.Warn("a port of the last run is taken, using others", "error", err)
		cfg.ListenAddress = node.AnyPort(cfg.ListenAddress)
		cfg.Gossip.BindAddress = node.AnyPort(cfg.Gossip.BindAddress)
		n, err = raftstore.Open(ctx, cfg)
	}
	if err != nil {
		return nil, api.Addresses{}, err
	}
	return &replica{n}, api.Addresses{Raft: n.Addr().String(), Gossip: n.GossipAddr()}, nil
}

func config(setup api.Setup, log *slog.Logger) raftstore.Config {
	cfg := raftstore.Config{
		Dir:                 setup.Dir,
		ListenAddress:       setup.Addresses.Raft,
		CertificateLifetime: setup.CertificateLifetime,
		Bootstrap:           setup.Bootstrap,
		Timing:              raftstore.Timing{PromoteAfter: promoteAfter},
		Logger:              log,
		Gossip: &raftstore.GossipConfig{
			BindAddress: setup.Addresses.Gossip,
			Seeds:       setup.Seeds,
		},
	}
	if setup.JoinToken != "" {
		cfg.Join = &raftstore.JoinConfig{Addresses: setup.Join, Token: setup.JoinToken}
	}
	return cfg
}

// Status implements [node.Backend].
func (r *replica) Status() api.Status {
	s := r.Node.Status()
	out := api.Status{
		Node:         s.NodeID,
		Role:         string(s.Role),
		Term:         s.Term,
		Leader:       s.Leader,
		AppliedIndex: s.AppliedIndex,
		Revision:     s.Cursor.Revision,
		Hash:         s.StateHash.String(),
		Diverged:     s.Diverged,

		CertificateNotAfter: s.CertificateNotAfter,
	}
	if a := s.Authority; a != nil {
		out.AuthorityNotAfter, out.Rotation, out.RotationWaitsFor = a.NotAfter, string(a.Rotation), a.WaitsFor
	}
	if s.Role != raftstore.RoleNonVoter {
		out.Voters = append(out.Voters, s.NodeID)
	}
	for _, p := range s.Peers {
		if p.Voter {
			out.Voters = append(out.Voters, p.NodeID)
		}
	}
	slices.Sort(out.Voters)
	return out
}

// RotateAuthority implements [node.Backend].
func (r *replica) RotateAuthority(ctx context.Context) error {
	err := r.Node.RotateAuthority(ctx)
	if errors.Is(err, raftstore.ErrRotationUnderWay) {
		return fmt.Errorf("%w: %w", api.ErrRotating, err)
	}
	return err
}
