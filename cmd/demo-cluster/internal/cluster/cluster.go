package cluster

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
)

const (
	clusterID   = "demo"
	trustDomain = "demo.test"

	gossipKeyBytes = 32
	tokenBytes     = 32

	// joinTokenTTL is how long a server has to present its join token.
	joinTokenTTL = time.Minute

	// pollInterval is the time between looks at what is waited for.
	pollInterval = 20 * time.Millisecond

	// settleTime is how long nothing must move until nothing is under way.
	settleTime = 500 * time.Millisecond
)

// Config says which servers to run, and where.
type Config struct {
	Nodes int

	// TrustDomain is that of the agents that the servers serve.
	TrustDomain spiffeid.TrustDomain

	// Command is what becomes a server when it is run with the server's name
	// as one more argument.
	Command []string

	// Workspace holds all files. The cluster must be closed before it is.
	Workspace *Workspace
}

// Cluster is a set of server processes.
type Cluster struct {
	Servers []*Server

	TrustDomain spiffeid.TrustDomain

	workspace *Workspace
	command   []string
	spawner   *spawner
	token     string
	gossipKey []byte
	crashes   chan Crash
	closeOnce sync.Once

	operations atomic.Int64
}

// New prepares a cluster: directories, certificates and secrets. No process
// runs yet. Close it.
func New(cfg Config) (*Cluster, error) {
	c := &Cluster{
		TrustDomain: cfg.TrustDomain,

		workspace: cfg.Workspace,
		command:   cfg.Command,
		token:     base64.RawURLEncoding.EncodeToString(random(tokenBytes)),
		gossipKey: random(gossipKeyBytes),
		crashes:   make(chan Crash, cfg.Nodes),
	}
	for i := range cfg.Nodes {
		s := newServer(c, fmt.Sprintf("n%d", i+1))
		if err := os.Mkdir(s.dir, 0o700); err != nil {
			return nil, err
		}
		c.Servers = append(c.Servers, s)
	}
	if err := c.issueCertificates(); err != nil {
		return nil, err
	}
	c.spawner = newSpawner()
	return c, nil
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// Operations is how many operations on SPIRE's DataStore the servers have done
// and answered.
func (c *Cluster) Operations() int { return int(c.operations.Load()) }

// Token is what clients of this run's servers must present.
func (c *Cluster) Token() string { return c.token }

// Quorum is how many servers must live for the cluster to write.
func (c *Cluster) Quorum() int { return len(c.Servers)/2 + 1 }

// Crash is the end of a server that nobody had asked for.
type Crash struct {
	Server *Server
	Err    error
}

// Crashed receives the crashes, of which each server has one at most before it
// is started again.
func (c *Cluster) Crashed() <-chan Crash { return c.crashes }

func (c *Cluster) crashed(crash Crash) {
	select {
	case c.crashes <- crash:
	default: // nobody listens any more
	}
}

// Close kills every process and waits until all are gone.
func (c *Cluster) Close() {
	c.closeOnce.Do(func() {
		var wg sync.WaitGroup
		for _, s := range c.Servers {
			wg.Go(s.Kill)
		}
		wg.Wait()
		c.spawner.close()
	})
}

// Form starts the servers, the first as a cluster of its own, and waits until
// every server has a vote.
func (c *Cluster) Form(ctx context.Context) error {
	if err := c.Servers[0].Start(ctx); err != nil {
		return err
	}
	if _, err := c.WaitLeader(ctx); err != nil {
		return err
	}
	if err := c.StartAll(ctx, c.Servers[1:]...); err != nil {
		return err
	}
	return Poll(ctx, "every server to have a vote", func() bool {
		_, status, ok := c.Leader(ctx)
		return ok && len(status.Voters) == len(c.Servers)
	})
}

// StartAll starts servers at the same time.
func (c *Cluster) StartAll(ctx context.Context, servers ...*Server) error {
	errs := make([]error, len(servers))
	var wg sync.WaitGroup
	for i, s := range servers {
		wg.Go(func() { errs[i] = s.Start(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// setup is what s needs to know to start.
func (c *Cluster) setup(ctx context.Context, s *Server) (api.Setup, error) {
	setup := api.Setup{
		Node:        s.Name,
		Cluster:     clusterID,
		TrustDomain: c.TrustDomain.IDString(),
		Dir:         filepath.Join(s.dir, "data"),
		Certificate: s.tls.Certificate,
		Key:         s.tls.Key,
		Roots:       s.tls.Roots,
		Addresses:   s.Addresses(),
		Token:       c.token,
		GossipKey:   c.gossipKey,
	}
	for _, other := range c.Servers {
		if other != s && other.hasJoined() {
			setup.Join = append(setup.Join, other.Addresses().Raft)
			setup.Seeds = append(setup.Seeds, other.Addresses().Gossip)
		}
	}
	if s.hasJoined() {
		return setup, nil
	}
	if s == c.Servers[0] {
		setup.Bootstrap = true
		return setup, nil
	}
	leader, err := c.WaitLeader(ctx)
	if err != nil {
		return api.Setup{}, err
	}
	cl, err := leader.Client()
	if err != nil {
		return api.Setup{}, err
	}
	setup.JoinToken, err = cl.CreateJoinToken(ctx, joinTokenTTL, 5*time.Second)
	if err != nil {
		return api.Setup{}, fmt.Errorf("join token for %s: %w", s.Name, err)
	}
	return setup, nil
}

func (s *Server) hasJoined() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.joined
}
