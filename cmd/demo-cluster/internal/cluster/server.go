package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/client"
)

// serverDirPrefix begins the names of the servers' directories.
const serverDirPrefix = "server-"

// statusTimeout is how long a server has to say how it is.
const statusTimeout = time.Second

// ErrDown: the server can't answer.
var ErrDown = errors.New("server is down")

// State is what the demo has done to a server.
type State uint8

// The states of a server.
const (
	Down State = iota
	Starting
	Running
	Paused
	Stopping
)

// String returns the name of s.
func (s State) String() string {
	return [...]string{"down", "starting", "running", "paused", "stopping"}[s]
}

// Server is one server of the cluster, whether its process runs or not. Where a
// server has lost its disk, the one that takes its place is the same Server with
// another name. One goroutine at a time may start, stop, kill, pause, resume and
// replace it; the other methods may be called by any.
type Server struct {
	cluster *Cluster

	mu        sync.Mutex // guards the fields below
	name      string     // its node id
	dir       string     // its data and log
	state     State
	changed   chan struct{} // closed and replaced at every change of state
	process   *process
	client    *client.Client
	addresses api.Addresses
	founds    bool   // it makes the cluster when it is first started
	joinToken string // that it joins with, unless it founds the cluster
	joined    bool   // it has been part of the cluster
}

func newServer(c *Cluster) *Server {
	const anyPort = "127.0.0.1:0"
	return &Server{
		cluster:   c,
		changed:   make(chan struct{}),
		addresses: api.Addresses{Client: anyPort, Raft: anyPort, Gossip: anyPort},
	}
}

// Name returns the server's node id.
func (s *Server) Name() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.name
}

// State returns what the demo has done to the server.
func (s *Server) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// Addresses returns where the server listens, or last did.
func (s *Server) Addresses() api.Addresses {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addresses
}

// PID returns the id of the server's process, or of its last one.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return 0
	}
	return s.process.cmd.Process.Pid
}

// Client returns a client of the server while its process is there, else
// [ErrDown]. A paused one takes requests, and answers when it goes on. The
// client is closed when the server goes.
func (s *Server) Client() (*client.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != Running && s.state != Paused {
		return nil, fmt.Errorf("%w: %s is %s", ErrDown, s.name, s.state)
	}
	return s.client, nil
}

// WaitClient waits until the server runs and returns a client of it.
func (s *Server) WaitClient(ctx context.Context) (*client.Client, error) {
	for {
		s.mu.Lock()
		state, cl, changed := s.state, s.client, s.changed
		s.mu.Unlock()
		if state == Running {
			return cl, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Status asks the server how it is. It doesn't wait for a paused one.
func (s *Server) Status(ctx context.Context) (api.Status, error) {
	if state := s.State(); state == Paused {
		return api.Status{}, fmt.Errorf("%w: %s is %s", ErrDown, s.Name(), state)
	}
	cl, err := s.Client()
	if err != nil {
		return api.Status{}, err
	}
	return cl.Status(ctx, statusTimeout)
}

// Start starts the process on the data of its last run, and waits until it
// serves.
func (s *Server) Start(ctx context.Context) error {
	s.set(Starting)
	setup, err := s.cluster.setup(s)
	var p *process
	if err == nil {
		argv := append(slices.Clone(s.cluster.cfg.Command), s.Name())
		p, err = s.cluster.spawner.startProcess(ctx, argv, setup, s.logPath(), s.cluster.cfg.Workspace.lock)
	}
	if err != nil {
		s.set(Down)
		return err
	}
	s.mu.Lock()
	s.process, s.addresses, s.joined = p, p.ready.Addresses, true
	s.client = client.New(s.addresses.Client, setup.Token, &s.cluster.operations)
	s.mu.Unlock()
	s.set(Running)
	go s.notice(p)
	return nil
}

// notice runs until p is gone, and reports it where nobody had asked for that.
func (s *Server) notice(p *process) {
	<-p.done
	s.mu.Lock()
	expected := s.process != p || (s.state != Running && s.state != Paused)
	s.mu.Unlock()
	if !expected {
		s.gone()
		s.cluster.crashed(Crash{Server: s, Err: fmt.Errorf("%s ended by itself: %w", s.Name(), p.exit())})
	}
}

// Stop ends the process gracefully.
func (s *Server) Stop(ctx context.Context) error {
	s.set(Stopping)
	defer s.gone()
	if err := s.process.stop(ctx); err != nil {
		return fmt.Errorf("%s: %w", s.Name(), err)
	}
	return nil
}

// Kill ends the process with SIGKILL. It has no chance to do anything more.
func (s *Server) Kill() {
	if s.State() == Down {
		return
	}
	s.set(Stopping)
	s.process.kill()
	s.gone()
}

// LoseDisk is Kill, and the end of all that the server had stored.
func (s *Server) LoseDisk() error {
	s.Kill()
	return os.RemoveAll(s.dataDir())
}

// Pause stops the process with SIGSTOP: it holds its connections and answers
// nothing.
func (s *Server) Pause() error {
	s.set(Paused)
	return s.process.signal(syscall.SIGSTOP)
}

// Resume lets a paused process go on.
func (s *Server) Resume() error {
	err := s.process.signal(syscall.SIGCONT)
	s.set(Running)
	return err
}

func (s *Server) gone() {
	s.mu.Lock()
	if s.client != nil {
		s.client.Close()
	}
	s.mu.Unlock()
	s.set(Down)
}

func (s *Server) set(state State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = state
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Server) path(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return filepath.Join(s.dir, name)
}

func (s *Server) dataDir() string { return s.path("data") }

func (s *Server) logPath() string { return s.path("log.txt") }

// LogTail returns the last lines of the server's log.
func (s *Server) LogTail() string {
	const lines, bytesMax = 12, 8 << 10
	f, err := os.Open(s.logPath())
	if err != nil {
		return "  " + err.Error()
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "  " + err.Error()
	}
	buf := make([]byte, min(info.Size(), bytesMax))
	n, _ := f.ReadAt(buf, info.Size()-int64(len(buf))) // a shorter tail will do
	all := strings.Split(strings.TrimSpace(string(buf[:n])), "\n")
	return "  " + strings.Join(all[max(0, len(all)-lines):], "\n  ")
}
