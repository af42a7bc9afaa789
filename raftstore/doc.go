// Package raftstore is the replicated node: a [store.Store] embedded in each
// server of a cluster that agrees through Raft (Ongaro, "Consensus: Bridging
// Theory and Practice", 2014) and keeps its state in package fsm.
//
// [Init] gives a data directory its identity, [Open] starts the node in it. One
// node of a new cluster is opened with Config.Bootstrap, the others with
// Config.Join and a token from [Node.CreateJoinToken]. After that, Open needs
// neither.
//
// # The way of a write
//
// A transaction runs on the local state and ends as one command. The node
// sends it to the leader, which groups the commands that wait into one log
// entry; when a quorum has the entry on disk and the leader has applied it, the
// result goes back. What conflicts is run again where it arose.
//
// # The way of a read
//
// A linearizable read asks the leader for a read index: the index of what the
// leader has applied, confirmed by a round in which a quorum of voters shows
// that it knows no later term. The node then waits until its own state has
// that index and reads it (Raft thesis, section 6.4). Reads that wait at the
// same time share a round.
//
// # What it is not
//
// It does not talk to clients over the network: servers embed it. Gossip
// carries addresses, never authority.
//
// Start reading at node.go; propose.go and readindex.go are the two paths.
package raftstore
