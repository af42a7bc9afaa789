package node

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spire-raft/spire-raft/cache"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
)

// drainMax bounds how long a server that is told to stop waits for the
// requests it is working on.
const drainMax = 5 * time.Second

// agentsStaleMax is how old the data may be that agents are served from, so for
// how long they are served without a majority. It is less than the default, since
// a cache that is opened before there is a leader asks after a quarter of it again.
const agentsStaleMax = 20 * time.Second

// OpenFunc opens the backend that setup describes. It returns the addresses of
// raft and gossip, which may differ from the setup's where a port was taken.
type OpenFunc func(ctx context.Context, setup api.Setup, log *slog.Logger) (Backend, api.Addresses, error)

// Process is a server as a process of its own.
type Process struct {
	// Stdin brings the setup as a line of JSON, and then stays open for as
	// long as the parent lives.
	Stdin io.Reader

	// Stdout takes one line of JSON, an [api.Ready].
	Stdout io.Writer

	// Log takes the log, as text.
	Log io.Writer

	Open OpenFunc
}

// Run serves until SIGTERM and returns the exit status of the process. It does
// not return where the parent dies: the process then ends at once, as if it
// had been killed.
func (p Process) Run(ctx context.Context) int {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	signal.Ignore(syscall.SIGINT)  // Ctrl-C is the parent's to handle
	signal.Ignore(syscall.SIGPIPE) // the parent stops listening once the server is ready
	log := slog.New(slog.NewTextHandler(p.Log, &slog.HandlerOptions{Level: slog.LevelInfo}))

	in := bufio.NewReader(p.Stdin)
	var setup api.Setup
	line, err := in.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &setup)
	}
	if err != nil {
		return p.refuse(log, fmt.Errorf("reading the setup from standard input: %w", err))
	}
	go exitWithParent(in, log)
	if err := p.serve(ctx, setup, log); err != nil {
		return p.refuse(log, err)
	}
	return 0
}

// exitWithParent ends the process when the other end of its standard input is
// gone. It runs until then.
func exitWithParent(in io.Reader, log *slog.Logger) {
	_, err := io.Copy(io.Discard, in)
	log.Error("parent is gone, exiting", "error", err)
	os.Exit(1)
}

// refuse tells the parent why the server does not run.
func (p Process) refuse(log *slog.Logger, err error) int {
	log.Error("server ends", "error", err)
	_ = json.NewEncoder(p.Stdout).Encode(api.Ready{Error: err.Error()}) // the parent may be gone
	return 1
}

func (p Process) serve(ctx context.Context, setup api.Setup, log *slog.Logger) (err error) {
	backend, addrs, err := p.Open(ctx, setup, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, backend.Close()) }()
	td, err := spiffeid.TrustDomainFromString(setup.TrustDomain)
	if err != nil {
		return fmt.Errorf("trust domain of the setup: %w", err)
	}
	agents, err := cache.Open(ctx, backend, cache.Config{TrustDomain: td, StalenessMax: agentsStaleMax, Logger: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, agents.Close()) }()
	listener, err := Listen("tcp", setup.Addresses.Client)
	if err != nil {
		return err
	}
	handler, err := Handler(ctx, backend, agents, setup.Token, log)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	var fresh freshConns
	srv := &http.Server{
		ConnState:         fresh.note,
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(listener) }() // ends with Shutdown or Close
	addrs.Client = listener.Addr().String()
	if err := json.NewEncoder(p.Stdout).Encode(api.Ready{Addresses: addrs}); err != nil {
		return errors.Join(err, srv.Close())
	}
	log.Info("serving", "node", setup.Node, "client", addrs.Client, "raft", addrs.Raft, "gossip", addrs.Gossip)

	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	log.Info("stopping")
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainMax)
	defer cancel()
	fresh.close()
	if err := srv.Shutdown(drain); err != nil {
		return errors.Join(err, srv.Close())
	}
	return nil
}

// freshConns are the connections that have not carried a request yet. HTTP
// clients open some in reserve, and a server that shuts down would wait
// seconds for them.
type freshConns struct{ conns sync.Map }

func (f *freshConns) note(c net.Conn, state http.ConnState) {
	if state == http.StateNew {
		f.conns.Store(c, nil)
	} else {
		f.conns.Delete(c)
	}
}

func (f *freshConns) close() {
	f.conns.Range(func(c, _ any) bool {
		_ = c.(net.Conn).Close() // nothing was sent over it
		return true
	})
}

// Listen listens on address or, where its port is taken, on a free one of the
// same host: a server that was down may find its port in use by another.
func Listen(network, address string) (net.Listener, error) {
	l, err := net.Listen(network, address)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return l, err
	}
	return net.Listen(network, AnyPort(address))
}

// AnyPort is address with port 0.
func AnyPort(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return net.JoinHostPort(host, "0")
}
