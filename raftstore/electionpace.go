package raftstore

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/raftstore/internal/logstore"
)

const (
	// paceInterval is the time between looks at how long writes of the log take.
	paceInterval = 250 * time.Millisecond

	// electionWrites are what an election has to give time for: the voter
	// writes the term, and the vote in two parts, after the candidate has done
	// the same, and both may be at an entry when it begins.
	electionWrites = 8

	// electionPaceMax bounds how far a slow disk can stretch the election timeout,
	// and so the time until a dead candidate is passed over.
	electionPaceMax = 5 * time.Second
)

// writeTimes knows how long writes of the log take on the average, of the last
// ones above all: one that stalls must not delay elections for long.
type writeTimes struct{ average atomic.Int64 }

func (w *writeTimes) add(d time.Duration) {
	for {
		old := w.average.Load()
		if w.average.CompareAndSwap(old, old+(int64(d)-old)/4) {
			return
		}
	}
}

// timedLog measures each write.
type timedLog struct {
	logstore.Backend
	times *writeTimes
}

func (l *timedLog) StoreLogs(logs []*raft.Log) error {
	begun := time.Now()
	err := l.Backend.StoreLogs(logs)
	l.times.add(time.Since(begun))
	return err
}

func (l *timedLog) Set(key, value []byte) error {
	begun := time.Now()
	err := l.Backend.Set(key, value)
	l.times.add(time.Since(begun))
	return err
}

// paceElections gives candidates the time that the disk needs. With a timeout
// that is shorter than what term and vote take to be written, each voter's answer
// comes too late, and servers elect each other for ever.
//
// Only candidates wait longer: a leader that is gone is missed as soon as ever.
func (n *Node) paceElections(ctx context.Context) {
	every(ctx, paceInterval, func() {
		least := n.cfg.Timing.ElectionTimeout
		c := n.raft.ReloadableConfig()
		want := max(least, min(electionWrites*time.Duration(n.writeTimes.average.Load()), electionPaceMax))
		if c.ElectionTimeout == want {
			return
		}
		if slow := want > least; slow != (c.ElectionTimeout > least) {
			n.log.Info("election timeout follows the log's disk", "slow", slow, "timeout", want)
		}
		if err := n.reload.change(n.raft, func(c *raft.ReloadableConfig) { c.ElectionTimeout = want }); err != nil {
			n.log.Warn("election timeout not changed", "timeout", want, "error", err)
		}
	})
}
