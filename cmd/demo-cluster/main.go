// Command demo-cluster runs a cluster of real server processes on this machine,
// does it harm, and checks that it kept its promises: nothing acknowledged was
// lost or done twice, every watcher saw every change exactly once, all servers
// hold the same state, and each gives every agent exactly its entries. All that
// is written are SPIRE's own objects, through its DataStore.
//
// It is both the parent that runs a scenario and, run by itself with
// another first argument, each of the servers.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/backend"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/node"
)

// serverCommand as the first argument makes the process a server. The second
// argument, its name, is for those who list processes.
const serverCommand = "__server"

// Exit statuses besides 0.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == serverCommand {
		server := node.Process{Stdin: os.Stdin, Stdout: os.Stdout, Log: os.Stderr, Open: backend.Open}
		os.Exit(server.Run(context.Background()))
	}
	signal.Ignore(syscall.SIGPIPE) // a reader of the output that leaves must not keep us from cleaning up
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	ctx, interrupt := context.WithCancel(context.Background())
	hurry := make(chan struct{})
	go func() { // ends with the process
		<-signals
		interrupt()
		<-signals
		close(hurry)
	}()
	os.Exit(run(ctx, hurry, os.Args[1:], os.Stdout, os.Stderr))
}
