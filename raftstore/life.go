package raftstore

import (
	"context"
	"errors"
	"fmt"

	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"github.com/spire-raft/spire-raft/raftstore/internal/authority"
	"github.com/spire-raft/spire-raft/raftstore/internal/life"
	"github.com/spire-raft/spire-raft/raftstore/internal/logstore"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/transport"
)

// A cluster is one life: what is bootstrapped twice under one name are two
// clusters, which must not take each other's entries. So each has a random
// instance, which its nodes have on disk before they speak raft, and which both
// sides of each stream compare.

// keyInstance is where the log has the instance.
var keyInstance = []byte("spire-raft/instance")

// mixedCure is what helps where the files of a directory don't belong together.
const mixedCure = "put back the files that belong together, or " + lostCure

// instance is that of the cluster, empty as long as this node knows of none.
func (n *Node) instance() string { return n.life.Instance() }

// claim implements transport.Config.Claim.
func (n *Node) claim() transport.Claim {
	c := transport.Claim{Instance: n.instance(), Disk: n.id.DiskID}
	for _, o := range n.life.Openings() {
		c.Openings = append(c.Openings, transport.Opening{Number: o.Number, Nonce: o.Nonce})
	}
	return c
}

// checkLife returns an error where the state or the log is of another life than
// the directory. It changes nothing.
func (n *Node) checkLife(log *logstore.Store) error {
	own := n.instance()
	inLog, err := logInstance(log)
	if err != nil {
		return err
	}
	inState := ""
	if n.machine != nil {
		inState = n.machine.Position().Instance
	}
	for _, found := range []struct{ file, instance string }{{"the state", inState}, {"the log", inLog}} {
		switch {
		case found.instance == "" || found.instance == own:
		case own == "":
			return fmt.Errorf("%w: %s is lost, but %s is of instance %s; %s", store.ErrCorrupt, life.FileName, found.file, found.instance, mixedCure)
		default:
			return fmt.Errorf("%w: %s is of instance %s of the cluster, %s of instance %s; %s",
				ErrMismatch, life.FileName, own, found.file, found.instance, mixedCure)
		}
	}
	return nil
}

// logInstance is the instance that the log has, empty if none.
func logInstance(log *logstore.Store) (string, error) {
	value, err := log.Get(keyInstance)
	if errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return "", nil
	}
	return string(value), err
}

// beginLife adds an opening to a directory that belongs to a cluster, and has
// the log know the instance. Nobody has heard of this node in this process yet.
func (n *Node) beginLife(context.Context) error {
	if n.instance() == "" {
		return nil
	}
	if err := n.life.Begin(); err != nil {
		return err
	}
	if known, err := logInstance(n.logs); err != nil || known != "" {
		return err
	}
	return n.logs.Set(keyInstance, []byte(n.instance()))
}

// enterLife makes this node one of an instance, before it speaks raft with
// anybody of it. It goes on where an earlier call has failed.
func (n *Node) enterLife(instance string, founding bool) error {
	own := n.instance()
	switch {
	case instance == "":
		return fmt.Errorf("%w: the node that answers does not know its own instance of the cluster yet", errNotLeader)
	case own == "":
		if err := n.life.Enter(instance, founding); err != nil {
			return err
		}
	case own != instance:
		return fmt.Errorf("%w: it was taken into instance %s of the cluster, not %s; delete the data directory and Init a new one with a new node id",
			ErrMismatch, own, instance)
	}
	if n.logs == nil || len(n.life.Openings()) > 0 {
		return nil // beginLife is still to come, or done
	}
	return n.beginLife(n.base)
}

// mayFound returns ErrClusterExists where the directory knows a cluster that is
// not this node's own foundation: the rest of it was lost, or never came.
func (n *Node) mayFound() error {
	if n.instance() == "" || n.life.Founding() {
		return nil
	}
	return fmt.Errorf("%w: the data directory is of instance %s of it, but has lost its state and its log, or never got them: set Join if it was just joining, else %s",
		ErrClusterExists, n.instance(), lostCure)
}

// foundLife makes this node the first of a new instance, on disk, before
// anything of the cluster exists: neither that nor the authority may be lost
// once it does.
func (n *Node) foundLife() error {
	if err := n.mayFound(); err != nil {
		return err
	}
	if n.own == nil {
		if n.instance() != "" {
			return nil
		}
		return n.enterLife(authority.NewInstance(), true)
	}
	if err := n.own.Save(); err != nil {
		return err
	}
	return n.enterLife(n.own.Founding().Instance, true)
}

// sameLife returns transport.ErrOtherInstance where a peer is of another
// instance than this node, or where one of them knows of none.
func (n *Node) sameLife(peer transport.PeerInfo) error {
	own := n.instance()
	if own != "" && peer.Claim.Instance == own {
		return nil
	}
	if own != "" && peer.Claim.Instance != "" {
		n.meetOther(peer.Node, peer.Claim.Instance)
	}
	return fmt.Errorf("%w: of %s, this node of %s", transport.ErrOtherInstance, orNone(peer.Claim.Instance), orNone(own))
}

func orNone(instance string) string {
	if instance == "" {
		return "none yet"
	}
	return instance
}
