package datastore_test

import (
	"context"
	"fmt"
	"log"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spire-raft/spire-raft/cache"
	"github.com/spire-raft/spire-raft/datastore"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/store/memstore"
)

// A DataStore that reads through a cache answers as one without.
func ExampleNew_withCache() {
	ctx := context.Background()
	s := memstore.New(memstore.Config{})
	defer s.Close()
	c, err := cache.Open(ctx, s, cache.Config{TrustDomain: spiffeid.RequireTrustDomainFromString("example.org")})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ds, err := datastore.New(s, datastore.Config{Cache: c})
	if err != nil {
		log.Fatal(err)
	}
	defer ds.Close()

	if _, err := ds.CreateBundle(ctx, &spirev1.Bundle{TrustDomainId: "spiffe://example.org"}); err != nil {
		log.Fatal(err)
	}
	n, err := ds.CountBundles(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("bundles:", n)
	// Output: bundles: 1
}
