// Package node is one server of the demo: a process that reads its setup from
// its standard input, opens a replicated store, and serves the client API until
// it is told to stop or its parent is gone.
package node
