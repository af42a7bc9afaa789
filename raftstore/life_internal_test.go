package raftstore

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/spire-raft/spire-raft/raftstore/internal/life"
	"github.com/spire-raft/spire-raft/raftstore/internal/logstore"
)

// A node that is taken in asks again where its first opening could not be written
// down. It must not go on without one: nobody could tell it from a copy.
func TestEnterLife_MakesUpForAnOpeningThatFailed(t *testing.T) {
	dir := t.TempDir()
	l, err1 := life.Open(dir)
	logs, err2 := logstore.Open(logstore.Options{Path: filepath.Join(dir, logFile), OnFailure: func(err error) { t.Error(err) }})
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	defer logs.Close()
	n := &Node{life: l, logs: logs, base: t.Context()}
	if err := l.Enter("instance", false); err != nil { // all that the first call came to
		t.Fatal(err)
	}
	for range 2 {
		if err := n.enterLife("instance", false); err != nil {
			t.Fatal(err)
		}
		if got := len(l.Openings()); got != 1 {
			t.Errorf("the node has %d openings", got)
		}
	}
	if inLog, err := logInstance(logs); inLog != "instance" || err != nil {
		t.Errorf("the log has instance %q, %v", inLog, err)
	}
}
