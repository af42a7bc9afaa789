package cache_test

import (
	"context"
	"fmt"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spire-raft/spire-raft/cache"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/memstore"
)

// A cache of any store answers which entries an agent may have, here as of all
// that has been committed.
func Example() {
	ctx := context.Background()
	s := memstore.New(memstore.Config{})
	defer s.Close()
	td := spiffeid.RequireTrustDomainFromString("example.org")
	c, err := cache.Open(ctx, s, cache.Config{TrustDomain: td})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()

	// What the datastore does, but for indexes and events.
	entry := &spirev1.RegistrationEntry{
		EntryId:  "1",
		ParentId: "spiffe://example.org/spire/agent/a",
		SpiffeId: "spiffe://example.org/web",
	}
	value, err := records.Entries.Encode(records.Item[*spirev1.RegistrationEntry]{Number: 1, Object: entry})
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := s.Put(ctx, store.Pair{Key: records.Entries.Key("1"), Value: value}); err != nil {
		fmt.Println(err)
		return
	}

	view, err := c.View(ctx, store.Linearizable())
	if err != nil {
		fmt.Println(err)
		return
	}
	agent := spiffeid.RequireFromString("spiffe://example.org/spire/agent/a")
	view.VisitAuthorized(agent, func(e *spirev1.RegistrationEntry) bool {
		fmt.Println(e.SpiffeId)
		return true
	})
	// Output: spiffe://example.org/web
}
