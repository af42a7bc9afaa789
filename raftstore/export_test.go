package raftstore

import (
	"context"
	"errors"
	"io"
	"math"
	"sort"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/spire-raft/spire-raft/fsm"
	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/raftstore/internal/authority"
	"github.com/spire-raft/spire-raft/raftstore/internal/identity"
	"github.com/spire-raft/spire-raft/raftstore/internal/life"
	"github.com/spire-raft/spire-raft/raftstore/internal/logstore"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/txn"
	"github.com/spire-raft/spire-raft/transport"
)

// LogFirstIndex is the first index of the node's log.
func (n *Node) LogFirstIndex() (uint64, error) { return n.logs.FirstIndex() }

// HasLogEntry tells whether the node's log has the entry at index.
func (n *Node) HasLogEntry(index uint64) (bool, error) {
	err := n.logs.GetLog(index, new(raft.Log))
	if errors.Is(err, raft.ErrLogNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Claim is what the node claims in handshakes.
func (n *Node) Claim() transport.Claim { return n.claim() }

// ClaimIn is what a node would claim that opened a directory now, but for the
// opening itself.
func ClaimIn(dir string) (transport.Claim, error) {
	id, err1 := identity.Load(dir)
	l, err2 := life.Open(dir)
	if err := errors.Join(err1, err2); err != nil {
		return transport.Claim{}, err
	}
	return (&Node{id: id, life: l}).claim(), nil
}

// WrapLog lets wrap stand between the log store and the disk.
func (c *Config) WrapLog(wrap func(logstore.Backend) logstore.Backend) { c.wrapLog = wrap }

// BeforeApply lets hold stand between committed entries and the state machine.
func (c *Config) BeforeApply(hold func()) { c.beforeApply = hold }

// Crash closes the node without writing what is applied to the state's file.
func (n *Node) Crash() error {
	// An entry of no kind stops the machine where it is.
	if _, err := n.machine.Machine.Apply([]fsm.Entry{{Index: math.MaxUint64}}); err == nil {
		return errors.New("the machine goes on")
	}
	return n.Close()
}

// Bar is the first half of a removal: it bars a node's id for ever, and leaves
// the node in the configuration. This node must lead.
func (n *Node) Bar(ctx context.Context, nodeID string) error {
	_, err := n.proposer.propose(ctx, fsm.EncodeRemoveNode(nodeID))
	return err
}

// CertificateEnd is when the certificate of a node expires that its cluster has
// issued.
func CertificateEnd(n *Node) time.Time {
	_, to := n.own.Validity()
	return to
}

// Authorities are the pins of the authorities that a node trusts, and the one of
// its certificate.
func Authorities(n *Node) (roots []string, own string) {
	for _, pin := range n.own.Roots() {
		roots = append(roots, pin.String())
	}
	return roots, n.own.Issuer().String()
}

// AuthorityKey is the key of the cluster's authority as it is stored, and in plain.
func AuthorityKey(n *Node) (stored, plain []byte, err error) {
	a, instance, err := n.authority()
	if err != nil {
		return nil, nil, err
	}
	ca, err := n.openAuthority(n.base, a, instance)
	if err != nil {
		return nil, nil, err
	}
	plain, err = ca.Key()
	return a.Key, plain, err
}

// WriteSnapshot writes what a node would send to one that lags.
func WriteSnapshot(n *Node, w io.Writer) error {
	if err := n.machine.Machine.Flush(); err != nil {
		return err
	}
	s, err := n.machine.Machine.Snapshot()
	if err != nil {
		return err
	}
	defer s.Close()
	_, err = s.WriteTo(w)
	return err
}

// Rotation is the step that a rotation is at by the state of a node.
func Rotation(n *Node) RotationStep {
	a, _, _, err := n.storedAuthority()
	if err != nil {
		return RotationStep(err.Error())
	}
	return stepOf(a)
}

// StreamsOfOthers is how many streams a node has, joins aside, whose other side has
// shown a certificate of another authority than this one.
func StreamsOfOthers(n *Node, pin string) (count int) {
	n.transport.CloseWhere(func(kind transport.Kind, peer transport.PeerInfo) bool {
		if kind != transport.Join && authority.Pin(peer.Authority).String() != pin {
			count++
		}
		return false
	})
	return count
}

// HoldRenewal keeps a node from renewing its certificate, or not.
func HoldRenewal(cfg *Config, hold bool) {
	cfg.beforeRenewal = func() error {
		if hold {
			return errors.New("held up by a test")
		}
		return nil
	}
}

// SetAuthorityLifetime sets the life of the authorities that a node makes.
func SetAuthorityLifetime(cfg *Config, life time.Duration) { cfg.authorityLifetime = life }

// OwnBundle is the key and certificate of a node.
func (n *Node) OwnBundle() (*transport.Bundle, error) { return n.own.Load() }

// Forge returns credentials of another node with a key that nobody has admitted,
// signed by the cluster's authority: what who stole its key can make.
func (n *Node) Forge(dir, node string) (*authority.Credentials, error) {
	view, err := n.machine.View()
	if err != nil {
		return nil, err
	}
	defer view.Close()
	stolen, _, err := view.Authority()
	if err != nil {
		return nil, err
	}
	ca, err := authority.OpenCA(stolen.Certificate, stolen.Key)
	if err != nil {
		return nil, err
	}
	id := transport.Identity{TrustDomain: stolen.TrustDomain, Cluster: n.id.ClusterID, Node: node}
	c, err := authority.New(dir, id, time.Hour)
	if err != nil {
		return nil, err
	}
	request, err := c.Request()
	if err != nil {
		return nil, err
	}
	chain, err := ca.Issue(request, authority.Leaf{Identity: id, Lifetime: time.Hour})
	if err != nil {
		return nil, err
	}
	return c, c.Adopt(chain, authority.Roots{Certificates: [][]byte{ca.Certificate()}}, nil)
}

// LateWrite is a write through the leader of now whose request is late: it makes
// what Put would send, as if the answer had been lost, and returns how it is
// delivered at last. Lost answers are settled before the next read.
func (n *Node) LateWrite(p store.Pair) (deliver func(ctx context.Context, to string) error, err error) {
	command, err := fsm.EncodeTransaction(&txn.Intent{Writes: []txn.Write{{Kind: store.EventPut, Key: p.Key, Value: p.Value}}})
	if err != nil {
		return nil, err
	}
	a := n.outcomes.begin()
	a.term = n.raft.CurrentTerm()
	n.outcomes.suspect(a)
	req := &peerv1.ProposeRequest{Command: command, Term: a.term, Run: n.outcomes.run, Request: a.number}
	return func(ctx context.Context, to string) error {
		var resp peerv1.ProposeResponse
		if err := n.call(ctx, to, methodPropose, req, &resp); err != nil {
			return err
		}
		if fsm.Outcome(resp.GetOutcome()) == fsm.Committed {
			return nil
		}
		return errors.New(resp.GetDetail())
	}, nil
}

// GossipKeys returns the cluster's gossip keys in the node's state, and the place
// of the one that encrypts.
func (n *Node) GossipKeys() (keys [][]byte, primary int, err error) {
	k, _, err := n.gossipKeys()
	return k.Keys, k.Primary, err
}

// GossipMembers are the nodes that a node has heard of by gossip.
func (n *Node) GossipMembers() []string {
	var out []string
	for _, m := range n.gossip.Members() {
		out = append(out, m.NodeID)
	}
	return out
}

// Instance is that of the cluster in the node's state.
func (n *Node) Instance() string { return n.machine.Position().Instance }

// SetGossipKeyWait sets how long a rotation waits for servers that are away.
func (c *Config) SetGossipKeyWait(wait time.Duration) { c.gossipKeyWait = wait }

// RenewFor is what the leader does when a node asks for another certificate.
func (n *Node) RenewFor(ctx context.Context, node string, request []byte) (any, error) {
	return n.renewFor(ctx, node, request)
}

// RefusalLines bounds the lines about refusals.
type RefusalLines = refusalLines

// Take asks for a line.
func (l *refusalLines) Take(source string, now time.Time) (uint64, bool) { return l.take(source, now) }

// BodyBytesMax is the size of the largest body that a method of the peer protocol
// takes.
func BodyBytesMax(method uint8) int {
	return sort.Search(1<<30, func(size int) bool { return checkRequest(method, size) != nil }) - 1
}

// AnswerBytesMax is the size of the largest answer that is decoded.
func AnswerBytesMax(method uint8) int {
	return sort.Search(1<<30, func(size int) bool { return answerBytesMax.check(method, size) != nil }) - 1
}

// SignWord signs a word with the authority's key: what a member of the cluster
// can do, and who has stolen that key.
func (n *Node) SignWord(w *peerv1.Word) (*peerv1.WordRequest, error) {
	a, _, err := n.authority()
	if err != nil {
		return nil, err
	}
	ca, err := authority.OpenCA(a.Certificate, a.Key)
	if err != nil {
		return nil, err
	}
	word, err := proto.Marshal(w)
	if err != nil {
		return nil, err
	}
	signature, err := ca.SignWord(word)
	return &peerv1.WordRequest{Word: word, Signature: signature}, err
}

// RecordedOpening is the number of a node's opening that n knows to be recorded,
// 0 if there is none.
func (n *Node) RecordedOpening(node string) uint64 {
	a, err := n.admissionOf(node)
	if err != nil {
		return 0
	}
	return a.Opening.Number
}
