package raftstore

import (
	"maps"
	"sync"
	"time"

	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/raftstore/internal/authority"
)

// caughtUpLag is how many entries a server may lag and still count as caught
// up.
const caughtUpLag = 100

// peers is what a leader knows of the other servers.
type peers struct {
	mu     sync.Mutex // guards health
	health map[string]peerHealth
}

// peerHealth is what a peer told last.
type peerHealth struct {
	// Contact is when it last answered, CaughtUp since when every answer had
	// it within caughtUpLag. Zero means never.
	Contact  time.Time
	CaughtUp time.Time

	AppliedIndex  uint64
	DiskFreeBytes uint64
	DiskLow       bool

	// Authorities are those that the peer trusts, and Issuer the one of its
	// certificate. See tellAuthorities.
	Authorities []authority.Pin
	Issuer      authority.Pin

	GossipKeysIndex uint64 // see Node.gossipKeysIndex

	wordShown time.Time // when it was shown the cluster's word for this leader, zero if it needs none

	Accused bool // of having another state than a quorum, and reported
}

// reset forgets everything, at the beginning of a term of office.
func (p *peers) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.health = make(map[string]peerHealth)
}

// seen notes an answer; applied is the leader's index at the time. The disk of
// a server without a vote is no reason to refuse writes.
func (p *peers) seen(id string, voter bool, resp *peerv1.ProbeResponse, applied uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	h := p.health[id]
	h.Contact = now
	h.AppliedIndex = resp.GetAppliedIndex()
	h.DiskFreeBytes = resp.GetDiskFreeBytes()
	h.DiskLow = voter && resp.GetDiskLow()
	h.Authorities, h.Issuer = authoritiesOf(resp)
	h.GossipKeysIndex = resp.GetGossipKeysIndex()
	switch {
	case h.AppliedIndex+caughtUpLag < applied:
		h.CaughtUp = time.Time{}
	case h.CaughtUp.IsZero():
		h.CaughtUp = now
	}
	p.health[id] = h
}

// wordDue tells whether it is time to show a peer the cluster's word, and notes
// that it is done. A peer that has refused this node needs one, and another one
// for as long as it is behind the configuration.
func (p *peers) wordDue(id string, refused, behind bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.health[id]
	pause := wordRenewal
	switch {
	case refused:
		pause = wordPause
	case h.wordShown.IsZero():
		return false
	case !behind:
		h.wordShown = time.Time{}
		p.health[id] = h
		return false
	}
	now := time.Now()
	if now.Sub(h.wordShown) < pause {
		return false
	}
	h.wordShown = now
	p.health[id] = h
	return true
}

// accuse notes that a peer has another state than a quorum, and tells whether
// that is news.
func (p *peers) accuse(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.health[id]
	news := !h.Accused
	h.Accused = true
	p.health[id] = h
	return news
}

// missed notes that a peer did not answer.
func (p *peers) missed(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.health[id]
	h.CaughtUp = time.Time{}
	p.health[id] = h
}

// caughtUpFor is how long a peer has been caught up.
func (p *peers) caughtUpFor(id string) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h := p.health[id]; !h.CaughtUp.IsZero() {
		return time.Since(h.CaughtUp)
	}
	return 0
}

// lowOnDisk returns a peer whose disk is low, if there is one that answered
// within the last maxAge.
func (p *peers) lowOnDisk(maxAge time.Duration) (string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, h := range p.health {
		if h.DiskLow && time.Since(h.Contact) < maxAge {
			return id, true
		}
	}
	return "", false
}

// all returns a copy of what is known.
func (p *peers) all() map[string]peerHealth {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.health)
}

// serversBut returns the servers of the configuration that have not told what done
// looks for; of itself a node, which leads, knows it.
func (n *Node) serversBut(done func(told peerHealth) bool) (servers []string) {
	health := n.peers.all()
	for _, s := range n.configuration().Servers {
		id := string(s.ID)
		told := health[id]
		if id == n.id.NodeID {
			told = peerHealth{GossipKeysIndex: n.gossipKeysIndex()}
			if n.own != nil {
				told.Authorities, told.Issuer = n.own.Roots(), n.own.Issuer()
			}
		}
		if !done(told) {
			servers = append(servers, id)
		}
	}
	return servers
}
