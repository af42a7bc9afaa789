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
)

const (
	// EntryType is the type of the items that entries become.
	EntryType = "entry"

	// loadersPerServer write entries at the same time through each server.
	loadersPerServer = 4

	// attemptsMax bounds how often an entry is sent.
	attemptsMax = 5
)

// Entries creates entries in parallel through all servers, each as an item
// with its indexes in one transaction.
func Entries(ctx context.Context, servers []*cluster.Server, ledger *check.Ledger, entries []Entry) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan Entry)
	var wg sync.WaitGroup
	for i := range loadersPerServer * len(servers) {
		wg.Go(func() {
			for e := range queue {
				if err := createEntry(ctx, servers[i%len(servers)], ledger, e); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, e := range entries {
		if ctx.Err() != nil {
			break
		}
		queue <- e
	}
	close(queue)
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// createEntry tries until the entry is there. Each attempt is a write of its
// own, so that one of an unknown outcome can't be taken for its successor.
func createEntry(ctx context.Context, s *cluster.Server, ledger *check.Ledger, e Entry) error {
	var err error
	for attempt := 1; attempt <= attemptsMax && ctx.Err() == nil; attempt++ {
		var cl *client.Client
		if cl, err = s.Client(); err != nil {
			break
		}
		id := fmt.Sprintf("%s#%d", e.ID, attempt)
		begun := time.Now()
		req := api.CreateRequest{
			Value:   api.Value{Write: id, At: begun.UnixNano(), Via: s.Name, Body: e.Body},
			Indexes: e.Indexes,
		}
		ledger.Begin(id, s.Name)
		var written api.Written
		written, err = cl.Create(ctx, EntryType, e.ID, req, writeTimeout)
		ledger.End(id, begun, client.OutcomeOf(err), written.Revision)
		if err == nil || (attempt > 1 && errors.Is(err, api.ErrExists)) {
			return nil
		}
		pause(ctx, backoff)
	}
	return fmt.Errorf("entry %s through %s: %w", e.ID, s.Name, err)
}
