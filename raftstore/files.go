package raftstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/fsm"
	"github.com/spire-raft/spire-raft/raftstore/internal/logstore"
	"github.com/spire-raft/spire-raft/raftstore/internal/raftnet"
	"github.com/spire-raft/spire-raft/store"
)

// logFile is the log, in the data directory.
const logFile = "raft.db"

// openFiles opens the state and the log. It makes either, and writes to the
// log, only when what is there of both is found to be in order.
func (n *Node) openFiles(context.Context) (err error) {
	there := fsm.Exists(n.cfg.Dir)
	if there {
		if err := n.openMachine(); err != nil {
			return err
		}
	}
	verified, err := n.checkLog()
	if err != nil {
		return err
	}
	if !there {
		if err := n.openMachine(); err != nil {
			return err
		}
	}
	n.logs, err = logstore.Open(logstore.Options{Path: n.logPath(), OnFailure: n.fail, Wrap: n.guardLog, Verified: verified})
	return err
}

func (n *Node) logPath() string { return filepath.Join(n.cfg.Dir, logFile) }

func (n *Node) openMachine() error {
	m, err := fsm.Open(fsm.Options{
		Dir: n.cfg.Dir, ClusterID: n.id.ClusterID, CheckConfiguration: raftnet.CheckConfiguration, Log: n.log,
	})
	if err != nil {
		return err
	}
	n.machine = &machine{Machine: m, onFailure: n.fail, before: n.cfg.beforeApply, onConfiguration: n.configured}
	return nil
}

// keyCurrentTerm is where raft keeps its term in the log store.
var keyCurrentTerm = []byte("CurrentTerm")

// lostCure is what helps where the log is lost, and with it what this node has
// promised to others.
const lostCure = "remove this node from the cluster, delete the data directory and join again with a new node id"

// checkLog returns ErrCorrupt where the log is damaged, where it is not the one
// of the state, or where entries are missing between the two: one of them was
// replaced or lost. Of the entries it reads those that the state lacks and the
// last one, which are those that raft reads when it starts. It changes nothing.
// verified is nil where there is no log yet.
func (n *Node) checkLog() (verified *logstore.Store, err error) {
	at := uint64(0)
	if n.machine != nil {
		at = n.machine.Position().Index
	}
	log, err := logstore.OpenReadOnly(n.logPath())
	switch {
	case errors.Is(err, fs.ErrNotExist) && at == 0:
		return nil, nil // a new node
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: the state is at index %d, but the log %s is lost, and with it whom this node voted for; %s",
			store.ErrCorrupt, at, n.logPath(), lostCure)
	case errors.Is(err, store.ErrCorrupt):
		return nil, fmt.Errorf("%w; %s", err, lostCure)
	case err != nil:
		return nil, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	if err := checkEntries(log, at); err != nil {
		return nil, fmt.Errorf("%s: %w; %s", n.logPath(), err, lostCure)
	}
	return log, n.checkLife(log)
}

// checkEntries reads the term, the last entry, and all behind the index that the
// state is at.
func checkEntries(log *logstore.Store, at uint64) error {
	switch _, err := log.GetUint64(keyCurrentTerm); {
	case errors.Is(err, store.ErrFailed):
		return err
	case err != nil && at > 0:
		return fmt.Errorf("%w: the state is at index %d, but the log has no term: it is not the one of the state", store.ErrCorrupt, at)
	}
	first, err1 := log.FirstIndex()
	last, err2 := log.LastIndex()
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if first > at+1 {
		return fmt.Errorf("%w: the log begins at index %d, but the state ends at %d", store.ErrCorrupt, first, at)
	}
	for i := max(first, min(at+1, last)); first > 0 && i <= last; i++ {
		switch err := log.GetLog(i, new(raft.Log)); {
		case errors.Is(err, raft.ErrLogNotFound):
			return fmt.Errorf("%w: entry %d is missing", store.ErrCorrupt, i)
		case err != nil:
			return err
		}
	}
	return nil
}
