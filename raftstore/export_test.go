package raftstore

import "github.com/spire-raft/spire-raft/raftstore/internal/logstore"

// LogFirstIndex is the first index of the node's log.
func (n *Node) LogFirstIndex() (uint64, error) { return n.logs.FirstIndex() }

// WrapLog lets wrap stand between the log store and the disk.
func (c *Config) WrapLog(wrap func(logstore.Backend) logstore.Backend) { c.wrapLog = wrap }
