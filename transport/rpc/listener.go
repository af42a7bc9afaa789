package rpc

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
)

// ServeListener serves every connection of a listener, with the handler that
// handlerFor returns for it, until ctx ends or the listener is closed. Then it
// closes the listener and its connections, and waits for their handlers. The
// error is the listener's, if it was not closed.
func ServeListener(ctx context.Context, ln net.Listener, cfg Config, handlerFor func(net.Conn) Handler) error {
	cfg = cfg.withDefaults()
	peers := served{cfg: cfg, peers: make(map[string]*servedPeer)}
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, end := context.WithCancel(ctx)
	defer end()
	wg.Go(func() {
		<-ctx.Done()
		ln.Close()
	})
	for {
		conn, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		shared, done := peers.add(conn)
		wg.Go(func() {
			defer done()
			if err := serve(ctx, conn, cfg, shared, handlerFor(conn)); err != nil {
				cfg.Log.Info("connection closed", "peer", conn.RemoteAddr().String(), "error", err)
			}
		})
	}
}

// served is what peers have open, by the name that Config.PeerOf gives them.
type served struct {
	cfg Config

	mu    sync.Mutex // guards peers
	peers map[string]*servedPeer
}

// servedPeer is what one peer has open.
type servedPeer struct {
	budget *budget
	conns  []net.Conn // the oldest first
}

// add takes up a connection and returns its budget, which it shares with the
// others of its peer. The oldest of these makes room where there are too many:
// a peer that has lost its connections without a word must get through. The
// caller calls done when the connection is closed.
func (s *served) add(conn net.Conn) (shared *budget, done func()) {
	if s.cfg.PeerOf == nil {
		return newBudget(s.cfg), func() {}
	}
	name := s.cfg.PeerOf(conn)
	s.mu.Lock()
	p := s.peers[name]
	if p == nil {
		p = &servedPeer{budget: newBudget(s.cfg)}
		s.peers[name] = p
	}
	p.conns = append(p.conns, conn)
	var oldest net.Conn
	if len(p.conns) > s.cfg.ConnsPerPeerMax {
		oldest = p.conns[0]
		p.conns = p.conns[1:]
	}
	s.mu.Unlock()
	if oldest != nil {
		oldest.Close()
	}
	return p.budget, func() { s.remove(name, p, conn) }
}

func (s *served) remove(name string, p *servedPeer, conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(p.conns, conn); i >= 0 {
		p.conns = slices.Delete(p.conns, i, i+1)
	}
	if len(p.conns) == 0 && s.peers[name] == p {
		delete(s.peers, name)
	}
}
