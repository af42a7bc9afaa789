package datastore_test

import (
	"context"
	"fmt"
	"reflect"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spire-raft/spire-raft/cache"
	"github.com/spire-raft/spire-raft/datastore"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/memstore"
)

func TestCached_ReadsAreThoseOfTheStoreAndDontTouchIt(t *testing.T) {
	for _, filled := range []bool{false, true} {
		s := newStore(t)
		plain := openOn(t, s)
		if filled {
			fill(t, plain)
		}
		c := openCache(t, s)
		var reads atomic.Int64
		cached := openCached(t, countingStore{s, &reads}, c)
		awaitCache(t, s, c)
		sameReads(t, t.Context(), cached, plain)
		if n := reads.Load(); n != 0 {
			t.Errorf("filled %v: %d reads of the store", filled, n)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		sameReads(t, ended, cached, plain)
	}
}

// Each row breaks a cache in a way of its own, behind which something is written.
func TestCached_WhatTheCacheLacksTheStoreAnswers(t *testing.T) {
	for name, open := range map[string]func(t *testing.T, s store.Store) *cache.Cache{
		"closed": func(t *testing.T, s store.Store) *cache.Cache {
			c := openCache(t, s)
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			return c
		},
		"stuck": func(t *testing.T, s store.Store) *cache.Cache { return openCache(t, stuckStore{s}) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			plain := openOn(t, s)
			c := open(t, s)
			fill(t, plain)
			sameReads(t, t.Context(), openCached(t, s, c), plain)
		})
	}
}

// A read waits for a cache that may be about to move, but not for one object, and
// not where a wait was in vain.
func TestCached_OnlyTheFirstCountWaitsForAStuckCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Config{})
		defer func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}()
		plain, err := datastore.New(s, datastore.Config{})
		if err != nil {
			t.Fatal(err)
		}
		c, err := cache.Open(t.Context(), stuckStore{s}, cache.Config{TrustDomain: spiffeid.RequireTrustDomainFromString("td"), RefreshInterval: -1})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}()
		fill(t, plain)
		cached, err := datastore.New(s, datastore.Config{Cache: c})
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []time.Duration{0, 5 * time.Millisecond, 0, 0} {
			begun := time.Now()
			n, err := int32(10), error(nil)
			if i%2 == 0 {
				_, err = cached.FetchRegistrationEntry(t.Context(), "e1")
			} else {
				n, err = cached.CountRegistrationEntries(t.Context(), &datastore.CountRegistrationEntriesRequest{})
			}
			if took := time.Since(begun); n != 10 || err != nil || took != want {
				t.Errorf("read %d: %d entries, %v after %v, want 10 after %v", i, n, err, took, want)
			}
		}
	})
}

// Whatever a caller does to a result, the next one is whole.
func TestCached_ResultsBelongToTheCaller(t *testing.T) {
	s := newStore(t)
	plain := openOn(t, s)
	fill(t, plain)
	c := openCache(t, s)
	cached := openCached(t, s, c)
	awaitCache(t, s, c)
	for _, r := range cachedReads() {
		if result, err := r.run(t.Context(), cached); err == nil {
			scribble(reflect.ValueOf(result))
		}
	}
	sameReads(t, t.Context(), cached, plain)
}

// A list may go on with the other kind of read at any page, while entries are
// deleted.
func TestCached_TokensAreThoseOfTheStore(t *testing.T) {
	s := newStore(t)
	plain := openOn(t, s)
	fill(t, plain)
	c := openCache(t, s)
	var reads atomic.Int64
	cached := openCached(t, countingStore{s, &reads}, c)
	ctx := t.Context()
	var ids []string
	page := &datastore.Pagination{PageSize: 2}
	for i := 0; ; i++ {
		awaitCache(t, s, c)
		res, err := []*datastore.DataStore{cached, plain}[i%2].ListRegistrationEntries(ctx, &datastore.ListRegistrationEntriesRequest{Pagination: page})
		if err != nil {
			t.Fatal(err)
		}
		if page = res.Pagination; len(res.Entries) == 0 {
			break
		}
		for _, e := range res.Entries {
			ids = append(ids, e.EntryId)
		}
		// The last one given is what the token stands for.
		if _, err := plain.DeleteRegistrationEntry(ctx, ids[len(ids)-1]); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := fmt.Sprint(ids), "[e0 e7 e4 e1 e8 e5 e2 e9 e6 e3]"; got != want || reads.Load() > 0 {
		t.Errorf("listed %s with %d reads of the store, want %s and 0", got, reads.Load(), want)
	}
}

func TestCached_DamagedRecordsGiveWhatTheStoreGives(t *testing.T) {
	value := func(number uint64, e *spirev1.RegistrationEntry) []byte {
		b, err := records.Entries.Encode(records.Item[*spirev1.RegistrationEntry]{Number: number, Object: e})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	malformed := []byte("damaged!\xff\xff")
	for name, pair := range map[string]store.Pair{
		"malformed entry":          {Key: records.Entries.Key("e3"), Value: malformed},
		"malformed bundle":         {Key: records.Bundles.Key("spiffe://td"), Value: malformed},
		"malformed node":           {Key: records.Nodes.Key("spiffe://td/n1"), Value: malformed},
		"malformed selectors":      {Key: records.NodeSelectorSets.Key("spiffe://td/n1"), Value: malformed},
		"key that doesn't parse":   {Key: append(records.Entries.Prefix(), 'x'), Value: malformed},
		"number of another entry":  {Key: records.Entries.Key("e3"), Value: value(1, &spirev1.RegistrationEntry{EntryId: "e3"})},
		"entry without any number": {Key: records.Entries.Key("e3"), Value: value(0, &spirev1.RegistrationEntry{EntryId: "e3"})},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			plain := openOn(t, s)
			fill(t, plain)
			if _, err := s.Put(t.Context(), pair); err != nil {
				t.Fatal(err)
			}
			c := openCache(t, s)
			awaitCache(t, s, c)
			sameReads(t, t.Context(), openCached(t, s, c), plain)
		})
	}
}
