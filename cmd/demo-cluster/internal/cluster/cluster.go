package cluster

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

const (
	clusterID = "demo"

	tokenBytes = 32

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

	// CertificateLifetime is that of the servers' certificates. Zero is the
	// default, which outlasts every run.
	CertificateLifetime time.Duration

	// Say is told, in a line each, what an operator would have to do. Nil means
	// nobody listens.
	Say func(format string, args ...any)

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

	cfg       Config
	spawner   *spawner
	token     string
	crashes   chan Crash
	closeOnce sync.Once

	operations atomic.Int64

	mu    sync.Mutex // guards the field below
	named int        // node ids that were given away; each is used once
}

// New prepares a cluster: directories, and the token for clients. No process runs
// yet. Close it.
func New(cfg Config) (*Cluster, error) {
	if cfg.Say == nil {
		cfg.Say = func(string, ...any) {}
	}
	c := &Cluster{
		TrustDomain: cfg.TrustDomain,

		cfg:     cfg,
		token:   base64.RawURLEncoding.EncodeToString(random(tokenBytes)),
		crashes: make(chan Crash, cfg.Nodes),
	}
	for range cfg.Nodes {
		s := newServer(c)
		if err := s.rename(c.nextName()); err != nil {
			return nil, err
		}
		c.Servers = append(c.Servers, s)
	}
	c.spawner = newSpawner()
	return c, nil
}

// nextName returns a node id that no server has had.
func (c *Cluster) nextName() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.named++
	return fmt.Sprintf("n%d", c.named)
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
