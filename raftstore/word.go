package raftstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/hashicorp/raft"

	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/raftstore/internal/authority"
	"github.com/spire-raft/spire-raft/transport"
)

// A node that was away while all others that it knows were replaced finds nobody
// who vouches for those there are now. Where the cluster is its own authority
// their leader shows it the cluster's word, signed with the authority's key, on a
// Join stream. It counts where none of the known servers answers.

const (
	// wordLife is by how much a word may differ from the clock of who is shown it.
	wordLife = 5 * time.Minute

	// wordPatience is how long the known servers must have been silent.
	wordPatience = 3 * time.Second

	// wordPause is the time from one word to a node that refuses this one to the
	// next, wordRenewal to one that was taken and isn't up to date yet.
	wordPause   = time.Second
	wordRenewal = vouchTTL / 3
)

// offerWord shows a node the cluster's word for this one, its leader, where the
// node has refused a stream, or lives on a word that it was shown.
func (n *Node) offerWord(node string, refused bool, lastIndex uint64) {
	if n.own == nil {
		return
	}
	index := n.machine.Position().ConfigurationIndex // the newest one that is committed
	if !n.isMember(n.id.NodeID) || !n.peers.wordDue(node, refused, lastIndex < index) {
		return
	}
	n.spawn(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, wordPause)
		defer cancel()
		if err := n.showWord(ctx, node, index); err != nil {
			n.log.Debug("the cluster's word is not taken", "peer", node, "error", err)
		}
	})
}

// showWord signs a word for this node and shows it to another one.
func (n *Node) showWord(ctx context.Context, node string, index uint64) error {
	key, err := n.keyHash()
	if err != nil {
		return err
	}
	a, instance, err := n.authority()
	if err != nil {
		return err
	}
	ca, err := n.openAuthority(ctx, a, instance)
	if err != nil {
		return err
	}
	var req peerv1.WordRequest
	req.Word, err = proto.Marshal(&peerv1.Word{
		Cluster: n.id.ClusterID, Instance: instance, NodeId: n.id.NodeID, Key: key[:],
		ConfigurationIndex: index, UnixSeconds: time.Now().Unix(),
	})
	if err != nil {
		return err
	}
	if req.Signature, err = ca.SignWord(req.Word); err != nil {
		return err
	}
	conn, err := n.transport.Dial(ctx, transport.Join, node)
	if err != nil {
		return err
	}
	return callOver(ctx, conn, methodWord, &req, &peerv1.WordResponse{})
}

// handleWord lets a stranger in whom nobody that this node knows can vouch for,
// on the word of the cluster.
func (n *Node) handleWord(ctx context.Context, peer transport.PeerInfo, req *peerv1.WordRequest) error {
	if err := n.needsWord(peer); err != nil {
		return err
	}
	w, err := n.checkWord(peer, req, time.Now())
	if err != nil {
		return fmt.Errorf("%w: the word for node %s: %w", ErrNotMember, peer.Node, err)
	}
	if n.vouched.take(peer.Node) {
		n.audit(ctx, auditWordTaken, slog.String("server", peer.Node), keyAttr(peer.Key), slog.Uint64("configuration", w.GetConfigurationIndex()))
	}
	return nil
}

// needsWord returns why no word counts here now. It comes first: it costs less
// than to check a signature.
func (n *Node) needsWord(peer transport.PeerInfo) error {
	switch known := n.admission(); {
	case n.own == nil || peer.Node == "":
		return fmt.Errorf("%w: nobody's word counts", errBadRequest)
	case known.trusted != nil || len(known.others(n.id.NodeID)) == 0 || n.raft.State() == raft.Leader:
		return fmt.Errorf("%w: node %s needs no word", ErrNotMember, n.id.NodeID)
	case !n.vouched.nobodyKnows(peer.Node):
		return fmt.Errorf("%w: servers that node %s knows may still vouch for node %s", ErrNotMember, n.id.NodeID, peer.Node)
	}
	return n.sameLife(peer)
}

// checkWord returns a word if it is for the peer that shows it, and counts now.
func (n *Node) checkWord(peer transport.PeerInfo, req *peerv1.WordRequest, now time.Time) (*peerv1.Word, error) {
	a, instance, err := n.authority()
	if err != nil {
		return nil, err
	}
	if err := authority.CheckWord(rootsOf(a), req.GetWord(), req.GetSignature()); err != nil {
		return nil, err
	}
	w := new(peerv1.Word)
	if err := proto.Unmarshal(req.GetWord(), w); err != nil {
		return nil, err
	}
	switch said := time.Unix(w.GetUnixSeconds(), 0); {
	case w.GetCluster() != n.id.ClusterID || w.GetInstance() != instance:
		return nil, fmt.Errorf("it is of instance %.100q of cluster %.100q", w.GetInstance(), w.GetCluster())
	case w.GetNodeId() != peer.Node || !bytes.Equal(w.GetKey(), peer.Key[:]):
		return nil, errors.New("it is for another node, or another key")
	case said.Before(now.Add(-wordLife)) || said.After(now.Add(wordLife)):
		return nil, fmt.Errorf("it was said at %s, and counts for %v", said.UTC().Format(time.RFC3339), wordLife)
	case w.GetConfigurationIndex() <= n.machine.Position().ConfigurationIndex:
		return nil, fmt.Errorf("it is of the configuration at index %d, which is no later than the one that is known", w.GetConfigurationIndex())
	}
	return w, nil
}
