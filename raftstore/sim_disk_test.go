package raftstore_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/raftstore/internal/logstore"
	"github.com/spire-raft/spire-raft/raftstore/internal/simtest"
	"github.com/spire-raft/spire-raft/store"
)

// faultyDisk is the disk under a node's log.
type faultyDisk struct {
	logstore.Backend
	broken *atomic.Bool
}

// StoreLogs fails on a broken disk after it has written, so that nobody can
// tell what is on it. It waits for an entry that somebody has asked for.
func (d *faultyDisk) StoreLogs(logs []*raft.Log) error {
	if err := d.Backend.StoreLogs(logs); err != nil {
		return err
	}
	asked := slices.ContainsFunc(logs, func(l *raft.Log) bool { return l.Type == raft.LogCommand })
	if asked && d.broken.Load() {
		return syscall.EIO
	}
	return nil
}

// StoreLog is StoreLogs of one.
func (d *faultyDisk) StoreLog(log *raft.Log) error { return d.StoreLogs([]*raft.Log{log}) }

// Set fails on a broken disk without writing.
func (d *faultyDisk) Set(key, value []byte) error {
	if d.broken.Load() {
		return syscall.EIO
	}
	return d.Backend.Set(key, value)
}

// TestSim_DiskFails breaks the disk of one node's log under load. The node
// stops itself and says so, the others go on, and when it is opened on a disk
// that works it catches up.
func TestSim_DiskFails(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		victim func(s *sim) int
	}{
		{"of a follower", func(s *sim) int { return s.others(s.elected())[0] }},
		{"of the leader", func(s *sim) int { return s.elected() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			disks := make(map[string]*atomic.Bool)
			faulty := func(cfg *raftstore.Config) {
				broken := new(atomic.Bool)
				disks[filepath.Base(cfg.Dir)] = broken
				cfg.WrapLog(func(b logstore.Backend) logstore.Backend { return &faultyDisk{Backend: b, broken: broken} })
			}
			simulate(t, 13, 3, faulty, func(s *sim) {
				l := s.startLoad(13, 6)
				time.Sleep(time.Second)
				victim := c.victim(s)
				leads := victim == s.elected()
				n := s.node(victim)
				disks[s.name(victim)].Store(true)
				s.within(time.Second, "the node has stopped itself", func() error {
					if r := n.Status().Role; r != raftstore.RoleFailed {
						return fmt.Errorf("its role is %s", r)
					}
					return nil
				})
				s.wantFailed(n)
				s.elected(s.others(victim)...)
				before := l.recorder.Acknowledged()
				time.Sleep(2 * time.Second)
				if after := l.recorder.Acknowledged(); after < before+20 {
					t.Errorf("%d writes were acknowledged while one of three nodes was down, want more", after-before)
				}

				s.stop(victim)
				disks[s.name(victim)].Store(false)
				s.restart(victim)
				l.finish()

				unknown := slices.ContainsFunc(l.recorder.Ops(), func(o *simtest.Op) bool {
					return errors.Is(o.Err, store.ErrUnknownOutcome) && !errors.Is(o.Err, context.DeadlineExceeded)
				})
				if leads && !unknown {
					t.Error("no write on the leader whose disk broke had an unknown outcome")
				}
			})
		})
	}
}

// wantFailed demands that a node serves nothing and tells why.
func (s *sim) wantFailed(n *raftstore.Node) {
	s.tb.Helper()
	if err := n.Status().Err; !errors.Is(err, store.ErrFailed) || !errors.Is(err, syscall.EIO) {
		s.tb.Errorf("status: got error %v, want %v and %v", err, store.ErrFailed, syscall.EIO)
	}
	for what, call := range map[string]func(ctx context.Context) error{
		"put":               func(ctx context.Context) error { _, err := n.Put(ctx, store.Pair{Key: []byte("failed")}); return err },
		"linearizable read": func(ctx context.Context) error { _, err := n.Revision(ctx, store.Linearizable()); return err },
		"stale read":        func(ctx context.Context) error { _, err := n.Revision(ctx, store.BoundedStale(time.Hour)); return err },
		"local read":        func(ctx context.Context) error { _, err := n.Revision(ctx, store.AtLeast(0)); return err },
		"begin":             func(ctx context.Context) error { _, err := n.Begin(ctx, store.TxOptions{}); return err },
		"watch":             func(ctx context.Context) error { _, err := n.Watch(ctx, store.Cursor{}); return err },
		"join token": func(ctx context.Context) error {
			_, err := n.CreateJoinToken(ctx, time.Minute)
			return err
		},
	} {
		if err := s.bounded(time.Second, call); !errors.Is(err, store.ErrFailed) {
			s.tb.Errorf("%s on a node that has failed: got %v, want %v", what, err, store.ErrFailed)
		}
	}
}
