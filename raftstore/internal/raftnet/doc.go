// Package raftnet is raft's transport: what one server's raft asks another's,
// over streams whose peers are known.
//
// It takes nothing on trust. A message has a limit for its type, which is
// looked at before memory is taken, and a deadline from its first byte on. It
// must come from the node that it names, which is the one that the stream's
// certificate names. Terms and indexes must be such as a sane server sends,
// and every entry and configuration must be one that this server can read:
// raft itself panics where it can't, and again at each restart, since it has
// stored it by then. What is not so ends its stream, with a line in the log, and
// never reaches raft.
//
// Snapshots go in chunks. The receiver collects them in a file, beside raft's
// main loop, which gets the whole file and so never waits for a peer. A
// transfer whose stream breaks goes on on another one, and lasts as long as it
// makes progress.
//
// A stream carries one request at a time. Requests are not pipelined; a type of
// frame more, and answers in order, are all that it would take here.
//
// Start at [Transport].
package raftnet
