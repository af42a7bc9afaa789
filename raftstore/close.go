package raftstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spire-raft/spire-raft/store"
)

// stopRaft ends raft when every write and every change of the configuration has
// its answer: a future that waits for the state machine when raft ends is left
// open for ever. Streams are cut, since raft waits for requests to peers that
// may hang.
//
// It does so once; who comes second waits. For that there is a channel in place
// of a sync.Once, since simulated time stands still where a goroutine waits for a
// mutex.
func (n *Node) stopRaft() error {
	n.stopping <- struct{}{}
	defer func() { <-n.stopping }()
	if n.stopped {
		return nil
	}
	n.stopped = true
	<-n.proposer.done
	n.changes <- struct{}{} // and keep it: there are no more changes
	stopped := n.raft.Shutdown()
	err := errors.Join(n.raftNet.Close(), n.transport.Close())
	if e := stopped.Error(); e != nil {
		err = errors.Join(err, fmt.Errorf("stop raft: %w", e))
	}
	return err
}

// handOverTimeout bounds how long Close tries to hand leadership over.
const handOverTimeout = 2 * time.Second

// Close implements [store.Store]. A leader hands over first, so that the
// others need not wait for a timeout to elect one.
func (n *Node) Close() error {
	n.mu.Lock()
	if n.closing {
		n.mu.Unlock()
		<-n.done
		return n.closed
	}
	n.mu.Unlock()
	n.handOver()

	n.mu.Lock()
	if n.closing {
		n.mu.Unlock()
		<-n.done
		return n.closed
	}
	n.closing = true
	n.mu.Unlock()

	n.closed = n.shutdown()
	close(n.done)
	return n.closed
}

// handOver makes a voter that is up to date the leader, if this node leads.
func (n *Node) handOver() {
	if voters, _ := n.otherVoters(); len(voters) == 0 || n.failure() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(n.base, handOverTimeout)
	defer cancel()
	if err := n.TransferLeadership(ctx); err != nil {
		n.log.Warn("leadership not handed over, an election will follow", "error", err)
	}
}

// shutdown ends everything, callers first, then raft, then what it stands on.
func (n *Node) shutdown() error {
	n.end()
	n.Runner.End(store.ErrClosed)
	var errs []error
	if n.gossip != nil {
		errs = append(errs, n.gossip.Close())
	}
	errs = append(errs, n.stopRaft())
	n.cancel()
	n.raft.DeregisterObserver(n.observer)
	n.clients.Close()
	n.running.Wait()
	n.unmetric()
	return errors.Join(append(errs, n.release())...)
}

// abandon undoes what Open has done so far.
func (n *Node) abandon() error {
	n.cancel()
	var errs []error
	if n.gossip != nil {
		errs = append(errs, n.gossip.Close())
	}
	if n.clients != nil {
		n.clients.Close()
	}
	if n.transport != nil {
		errs = append(errs, n.transport.Close())
	}
	n.running.Wait()
	if n.unmetric != nil {
		n.unmetric()
	}
	return errors.Join(append(errs, n.release())...)
}

// release gives back the data directory. Open uses it too, when it gives up.
func (n *Node) release() error {
	var errs []error
	if n.logs != nil {
		errs = append(errs, n.logs.Close())
	}
	if n.machine != nil {
		errs = append(errs, n.machine.Close())
	}
	if n.disk != nil {
		n.disk.Close()
	}
	if n.unlock != nil {
		errs = append(errs, n.unlock())
	}
	return errors.Join(errs...)
}
