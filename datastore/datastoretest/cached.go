package datastoretest

import (
	"context"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spire-raft/spire-raft/cache"
	"github.com/spire-raft/spire-raft/datastore"
	"github.com/spire-raft/spire-raft/store"
)

// openCached gives a DataStore a cache of its store.
func openCached(t *testing.T, s store.Store, cfg *datastore.Config) store.Store {
	c, err := cache.Open(t.Context(), s, cache.Config{TrustDomain: spiffeid.RequireTrustDomainFromString("example.org")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close the cache: %v", err)
		}
	})
	cfg.Cache = c
	return patientStore{s, c}
}

// patience is how long a read waits for the cache. It is longer than a
// DataStore's own, so that the suite tests the cache and not how fast it is.
const patience = 50 * time.Millisecond

// patientStore is a store on which transactions that only read begin when a cache
// has reached them. Then the cache answers whatever it can.
type patientStore struct {
	store.Store

	cache *cache.Cache
}

// Begin implements [store.Store].
func (s patientStore) Begin(ctx context.Context, opts store.TxOptions) (store.Tx, error) {
	tx, err := s.Store.Begin(ctx, opts)
	if err != nil || !opts.ReadOnly {
		return tx, err
	}
	if at, err := tx.Cursor(ctx); err == nil {
		s.cache.Reached(ctx, at, patience)
	}
	return tx, nil
}
