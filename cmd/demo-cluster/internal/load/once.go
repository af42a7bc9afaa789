package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/check"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/client"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/cluster"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
)

const (
	// tasksPerServer are done at the same time through each server.
	tasksPerServer = 4

	// attemptsMax bounds how often a task is sent.
	attemptsMax = 5

	// stallMax is how long no task may end. How long all of them take depends
	// on how many there are.
	stallMax = 30 * time.Second
)

// task is something that is to be written once.
type task struct {
	write string // its identity
	send  func(context.Context, *client.Client) (api.Written, error)

	// The server can't tell a second attempt from the first.
	blind bool
}

// Entries creates entries in parallel through all servers.
func Entries(ctx context.Context, servers []*cluster.Server, ledger *check.Ledger, entries []*spirev1.RegistrationEntry) error {
	tasks := make([]task, len(entries))
	for i, e := range entries {
		tasks[i] = createEntry(e)
	}
	return doAll(ctx, servers, ledger, tasks)
}

func createEntry(e *spirev1.RegistrationEntry) task {
	return task{write: e.EntryId, send: func(ctx context.Context, cl *client.Client) (api.Written, error) {
		return cl.CreateEntry(ctx, e, writeTimeout)
	}}
}

// doAll does tasks in parallel through all servers. It lasts as long as they go
// on.
func doAll(ctx context.Context, servers []*cluster.Server, ledger *check.Ledger, tasks []task) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	progress := expectProgress(cancel)
	defer progress.Stop()
	queue := make(chan task)
	var wg sync.WaitGroup
	for i := range tasksPerServer * len(servers) {
		s := servers[i%len(servers)]
		wg.Go(func() {
			for t := range queue {
				if err := t.do(ctx, s.Name(), s.Client, ledger); err != nil {
					cancel(err)
				}
				progress.Reset(stallMax)
			}
		})
	}
	for _, t := range tasks {
		if ctx.Err() != nil {
			break
		}
		queue <- t
	}
	close(queue)
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// expectProgress calls cancel once the timer that it returns was not reset for
// stallMax.
func expectProgress(cancel context.CancelCauseFunc) *time.Timer {
	return time.AfterFunc(stallMax, func() { cancel(fmt.Errorf("no write has ended for %v", stallMax)) })
}

// do tries until the task is done. All attempts are one write: if two of them
// should succeed, it shows twice.
func (t task) do(ctx context.Context, server string, connect func() (*client.Client, error), ledger *check.Ledger) error {
	ledger.Begin(t.write, server)
	known := client.Failed
	var err error
	for attempt := 1; attempt <= attemptsMax && ctx.Err() == nil; attempt++ {
		var cl *client.Client
		if cl, err = connect(); err != nil {
			break
		}
		begun := time.Now()
		var written api.Written
		written, err = t.send(ctx, cl)
		switch outcome := client.OutcomeOf(err); {
		case outcome == client.Acknowledged && !written.Existing:
			ledger.End(t.write, begun, outcome, written.Revision)
			return nil
		case outcome == client.Acknowledged, known == client.Ambiguous && errors.Is(err, api.ErrExists):
			ledger.End(t.write, begun, known, 0) // an attempt before has done it
			return nil
		case outcome == client.Ambiguous:
			known = outcome
		}
		if known == client.Ambiguous && t.blind {
			break
		}
		pause(ctx, backoff)
	}
	ledger.End(t.write, time.Now(), known, 0)
	return fmt.Errorf("%s through %s: %w", t.write, server, err)
}
