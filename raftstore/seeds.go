package raftstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/transport"
)

// seedsMax bounds the addresses that a configuration may name.
const seedsMax = 64

// askedTimeout bounds the wait for the servers that are asked whether there is a
// cluster.
const askedTimeout = 3 * time.Second

// askAround asks the servers at all known addresses, and returns why this node
// may not found a cluster: one of them knows one, or one doesn't answer, so that
// nobody can tell. A node that waits to be taken in is no obstacle.
func (n *Node) askAround(ctx context.Context) error {
	addresses := n.otherAddresses()
	ctx, cancel := context.WithTimeout(ctx, askedTimeout)
	defer cancel()
	answers := make([]error, len(addresses))
	var wg sync.WaitGroup
	for i, address := range addresses {
		wg.Go(func() {
			resp, err := n.sayHello(ctx, address)
			answers[i] = n.obstacle(address, resp, err)
		})
	}
	wg.Wait()
	for _, err := range answers {
		if errors.Is(err, ErrClusterExists) {
			return err
		}
	}
	return errors.Join(answers...)
}

// otherAddresses are those of the configuration and of the address book, but not
// this node's own.
func (n *Node) otherAddresses() []string {
	all := slices.Concat(n.cfg.Seeds, slices.Collect(maps.Values(n.addresses.All())))
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), n.isOwnAddress)
}

func (n *Node) isOwnAddress(address string) bool {
	return address == n.advertised || address == n.cfg.ListenAddress
}

// obstacle is what the answer of a server has against a new cluster, if anything.
func (n *Node) obstacle(address string, resp *peerv1.HelloResponse, err error) error {
	told := resp.GetLife()
	switch {
	case errors.Is(err, ErrRemoved):
		return fmt.Errorf("%w: the node at %s says that node %s was removed from it, so that this id is of no use any more: delete the data directory, and Init a new one with a new node id to join",
			ErrClusterExists, address, n.id.NodeID)
	case err != nil:
		return fmt.Errorf("%w: %s: %w; start it, or take it out of Seeds if it is gone for good, or set BootstrapAnyway if you are sure that there is no cluster",
			ErrSeedSilent, address, err)
	case told.GetClusterId() != n.id.ClusterID:
		return fmt.Errorf("%w: at %s is a node of cluster %q, not of %q; name servers of this one in Seeds",
			ErrSeedSilent, address, told.GetClusterId(), n.id.ClusterID)
	case !resp.GetMember():
		return nil
	}
	err = fmt.Errorf("%w: node %s at %s is a member of cluster %s, instance %s", ErrClusterExists, told.GetNodeId(), address, told.GetClusterId(), told.GetInstance())
	switch resp.GetAsker() {
	case peerv1.HelloResponse_ASKER_MEMBER:
		return fmt.Errorf("%w; node %s is a member of it too, whose disk was lost, so that this id is of no use any more: remove it there, Init another directory with a new node id, and join it; or set BootstrapAnyway to give that cluster up",
			err, n.id.NodeID)
	case peerv1.HelloResponse_ASKER_REMOVED:
		return fmt.Errorf("%w; node %s was removed from it, so that this id is of no use any more: Init another directory with a new node id, and join it; or set BootstrapAnyway to give that cluster up",
			err, n.id.NodeID)
	}
	return fmt.Errorf("%w; join it with a new node id, or set BootstrapAnyway to give it up", err)
}

// lookForMembers asks the servers at the configured addresses who they are, and
// notes where members of this cluster answer: all of them may have moved since
// this node knew them.
func (n *Node) lookForMembers(ctx context.Context) {
	var wg sync.WaitGroup
	for _, address := range n.cfg.Seeds {
		if n.isOwnAddress(address) {
			continue
		}
		wg.Go(func() {
			conn, err := n.transport.DialAddress(ctx, transport.Join, address)
			if err != nil {
				return
			}
			conn.Close()
			if node := conn.Peer().Node; n.admission().has(node) {
				n.learnAddress(node, address)
			}
		})
	}
	wg.Wait()
}
