//go:build !race

// The race detector makes pools forget, so that visits allocate.

package cache_test

import (
	"fmt"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spire-raft/spire-raft/cache"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/store/memstore"
)

// TestVisitAuthorized_AllocatesNothing goes for large answers too.
func TestVisitAuthorized_AllocatesNothing(t *testing.T) {
	s := newStore(t, memstore.Config{})
	put(t, s, node(1, "/agent", "x")...)
	put(t, s, entry(1, "alias", "/spire/server", "/group", "x"))
	for i := range uint64(600) {
		put(t, s, entry(i+2, fmt.Sprint("e", i), "/group", fmt.Sprint("/w/", i)), entry(i+1000, fmt.Sprint("f", i), fmt.Sprint("/w/", i), "/x"))
	}
	v := view(t, open(t, s, cache.Config{}), 0)
	agent := spiffeid.RequireFromString(id("/agent"))
	visited := 0
	visit := func(*spirev1.RegistrationEntry) bool { visited++; return true }
	wanted := []string{"e1", "f500", "alias"}
	n := testing.AllocsPerRun(100, func() {
		visited = 0
		v.VisitAuthorized(agent, visit)
		v.VisitAuthorizedOf(agent, wanted, visit)
	})
	if n > 0.5 || visited != 1202 {
		t.Errorf("a visit of %d entries made %v allocations, want 1202 and none", visited, n)
	}
}

// TestVisitEntries_AllocatesNothing goes for a whole list and a page of it.
func TestVisitEntries_AllocatesNothing(t *testing.T) {
	s := newStore(t, memstore.Config{})
	for i := range uint64(1000) {
		put(t, s, entry(i+1, fmt.Sprint("e", i), "/a", "/w"))
	}
	v := view(t, open(t, s, cache.Config{}), 0)
	visited := 0
	visit := func(uint64, *spirev1.RegistrationEntry) bool { visited++; return visited != 1100 }
	n := testing.AllocsPerRun(100, func() {
		visited = 0
		v.VisitEntries(0, visit)
		v.VisitEntries(500, visit)
	})
	if n > 0.5 || visited != 1100 {
		t.Errorf("visits of %d entries made %v allocations, want 1100 and none", visited, n)
	}
}
