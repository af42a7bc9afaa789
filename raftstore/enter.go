package raftstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spire-raft/spire-raft/fsm"
	"github.com/spire-raft/spire-raft/transport"
)

var errNoCluster = fmt.Errorf("%w: set Bootstrap to start a new cluster with this node, or Join to take it into one", ErrNotMember)

// consult asks the nodes of the cluster, on behalf of one that has no file yet,
// whether it may start a new cluster or join them, so that a refusal leaves it
// without any. What only time can answer is left to enter.
func (n *Node) consult(ctx context.Context) error {
	if _, err := os.Stat(n.logPath()); !errors.Is(err, fs.ErrNotExist) || fsm.Exists(n.cfg.Dir) {
		return nil
	}
	switch {
	case n.cfg.Bootstrap:
		if err := n.mayFound(); err != nil {
			return err
		}
		if err := n.checkNoCluster(ctx); err != nil {
			return err
		}
		n.admitted = true
		return n.foundLife()
	case n.cfg.Join != nil:
		return n.knock(ctx)
	}
	return errNoCluster
}

// knock asks once to be taken in. It returns an error where asking again would
// not help. A node that is taken in and doesn't get further may ask once more.
func (n *Node) knock(ctx context.Context) error {
	if _, err := n.joinToken(); err != nil {
		return err
	}
	var errs []error
	for _, address := range n.cfg.Join.Addresses {
		err := n.joinThrough(ctx, address)
		if err == nil {
			n.admitted = true
			return nil
		}
		if !final(err) {
			return nil
		}
		errs = append(errs, fmt.Errorf("join through %s: %w", address, err))
	}
	return n.explainJoin(errors.Join(errs...))
}

// explainJoin adds what helps to an error of joining that doesn't tell it.
func (n *Node) explainJoin(err error) error {
	switch {
	case errors.Is(err, transport.ErrOtherCluster):
		return fmt.Errorf("%w; set Join.Addresses to nodes of cluster %s, or Init another directory for that cluster", err, n.id.ClusterID)
	case errors.Is(err, transport.ErrUntrusted) && n.own != nil:
		return fmt.Errorf("%w; set Join.Addresses to nodes of the cluster that has made the token", err)
	case errors.Is(err, transport.ErrUntrusted):
		return fmt.Errorf("%w; set Join.Addresses to nodes of cluster %s, or let both sides trust the other's authority", err, n.id.ClusterID)
	}
	return err
}

// enter makes the node part of its cluster, where it is not yet.
func (n *Node) enter(ctx context.Context) error {
	if len(n.configuration().Servers) > 0 {
		if n.cfg.Bootstrap && !n.life.Founding() {
			n.log.Info("nothing to bootstrap: the data directory belongs to a cluster", "instance", n.instance())
		}
		return n.finishFounding(ctx)
	}
	switch {
	case n.cfg.Bootstrap:
		return n.bootstrap(ctx)
	case n.cfg.Join != nil:
		if n.admitted {
			return nil
		}
		return n.explainJoin(n.joinCluster(ctx))
	}
	return errNoCluster
}
