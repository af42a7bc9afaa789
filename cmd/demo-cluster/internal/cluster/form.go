package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
)

const (
	// joinTokenTTL is how long a server has to present its join token.
	joinTokenTTL = time.Minute

	// requestTimeout bounds the requests of the operator.
	requestTimeout = 5 * time.Second
)

// Form forms the cluster as an operator would, and waits until every server has
// a vote: the first server founds it, and a running one makes a token for each of
// the others.
func (c *Cluster) Form(ctx context.Context) error {
	first := c.Servers[0]
	c.cfg.Say("%s: start with bootstrap: it makes the cluster %q and its certificate authority", first.Name(), clusterID)
	first.mu.Lock()
	first.founds = true
	first.mu.Unlock()
	if err := first.Start(ctx); err != nil {
		return err
	}
	if _, err := c.WaitLeader(ctx); err != nil {
		return err
	}
	for _, s := range c.Servers[1:] {
		if err := c.invite(ctx, first, s); err != nil {
			return err
		}
	}
	if err := c.StartAll(ctx, c.Servers[1:]...); err != nil {
		return err
	}
	return c.WaitVoters(ctx)
}

// invite has the server host make a token for s, which joins with it when it is
// started.
func (c *Cluster) invite(ctx context.Context, host, s *Server) error {
	cl, err := host.Client()
	if err != nil {
		return err
	}
	token, err := cl.CreateJoinToken(ctx, s.Name(), joinTokenTTL, requestTimeout)
	if err != nil {
		return fmt.Errorf("join token for %s: %w", s.Name(), err)
	}
	c.cfg.Say("%s: POST /v1/join-tokens?node=%s&ttl=%v: %s", host.Name(), s.Name(), joinTokenTTL, shortened(token))
	c.cfg.Say("%s: start with join=%s and that token", s.Name(), host.Addresses().Raft)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.joinToken = token
	return nil
}

// shortened is a join token as it may be shown: whom it is for, and not its
// secret.
func shortened(token string) string {
	const pinShown = 8
	parts := strings.Split(token, "/")
	if len(parts) != 4 {
		return "(a token of unknown form)"
	}
	return fmt.Sprintf("%s/%s/%.*s.../...", parts[0], parts[1], pinShown, parts[2])
}

// WaitVoters waits until the servers, and no others, have a vote.
func (c *Cluster) WaitVoters(ctx context.Context) error {
	return Poll(ctx, "every server to have a vote", func() bool {
		_, status, ok := c.Leader(ctx)
		return ok && slices.Equal(status.Voters, c.names())
	})
}

// names are the node ids of the servers, in order.
func (c *Cluster) names() []string {
	var names []string
	for _, s := range c.Servers {
		names = append(names, s.Name())
	}
	slices.Sort(names)
	return names
}

// Remove takes the server with a node id out of the cluster for good, through
// another one, and tries until that is done or ctx ends.
func (c *Cluster) Remove(ctx context.Context, node string) error {
	var through string
	var last error
	err := Poll(ctx, node+" to be removed", func() bool {
		for _, s := range c.Servers {
			cl, err := s.Client()
			if s.Name() == node || err != nil {
				continue
			}
			through = s.Name()
			last = cl.RemoveServer(ctx, node, requestTimeout)
			return last == nil
		}
		return false
	})
	if err != nil {
		return errors.Join(err, last)
	}
	c.cfg.Say("%s: DELETE /v1/servers/%s", through, node)
	return nil
}

// Replace makes a server another one, with an empty disk and a new node id, that
// is started to join with a token of the leader's. The process must have ended.
// The old node id has been removed, or is so soon.
func (c *Cluster) Replace(ctx context.Context, s *Server) error {
	if err := s.rename(c.nextName()); err != nil {
		return err
	}
	host, err := c.WaitLeader(ctx)
	if err != nil {
		return err
	}
	if err := c.invite(ctx, host, s); err != nil {
		return err
	}
	return s.Start(ctx)
}

// setup is what s needs to know to start.
func (c *Cluster) setup(s *Server) (api.Setup, error) {
	s.mu.Lock()
	joined, founds, token := s.joined, s.founds, s.joinToken
	s.mu.Unlock()
	setup := api.Setup{
		Node:        s.Name(),
		Cluster:     clusterID,
		TrustDomain: c.TrustDomain.IDString(),
		Dir:         s.dataDir(),
		Addresses:   s.Addresses(),
		Token:       c.token,

		CertificateLifetime: c.cfg.CertificateLifetime,
	}
	for _, other := range c.Servers {
		if other != s && other.hasJoined() {
			setup.Join = append(setup.Join, other.Addresses().Raft)
			setup.Seeds = append(setup.Seeds, other.Addresses().Gossip)
		}
	}
	switch {
	case joined:
	case token != "":
		setup.JoinToken = token
	case founds:
		setup.Bootstrap = true
	default:
		return setup, fmt.Errorf("%s has no token to join with", s.Name())
	}
	return setup, nil
}

func (s *Server) hasJoined() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.joined
}

// rename makes s the server with another node id, which belongs to no cluster
// and has a directory of its own.
func (s *Server) rename(name string) error {
	dir := filepath.Join(s.cluster.cfg.Workspace.Dir, serverDirPrefix+name)
	s.mu.Lock()
	s.name, s.dir, s.founds, s.joined, s.joinToken = name, dir, false, false, ""
	s.mu.Unlock()
	return os.Mkdir(dir, 0o700)
}
