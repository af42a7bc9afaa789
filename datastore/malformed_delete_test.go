package datastore

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	recordsv1 "github.com/spire-raft/spire-raft/proto/records/v1"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// createNode stores an expired node that attested by a join token, with a
// selector, and with an alias if it has a name.
func createNode(t *testing.T, d *DataStore, id, alias string) {
	t.Helper()
	ctx := context.Background()
	n := &spirev1.AttestedNode{
		SpiffeId: id, AttestationDataType: joinTokenType, CertSerialNumber: "1", CertNotAfter: 1, CanReattest: true,
	}
	if _, err := d.CreateAttestedNode(ctx, n); err != nil {
		t.Fatal(err)
	}
	if err := d.SetNodeSelectors(ctx, id, []*spirev1.Selector{{Type: "a", Value: "1"}}); err != nil {
		t.Fatal(err)
	}
	if alias != "" {
		createAll(t, d, &entry{
			EntryId: alias, SpiffeId: "spiffe://td/" + alias, ParentId: id,
			Selectors: []*spirev1.Selector{{Type: spiffeIDSelector, Value: id}},
		})
	}
}

// The three that can't be deleted don't take the place of others.
func TestPruneNodes_LeavesWhatDoesNotDecode(t *testing.T) {
	ctx := context.Background()
	d, closeStore := newDataStore(t)
	defer closeStore()
	for _, id := range alphabet {
		createNode(t, d, id, "alias-"+id)
	}
	bad := [][]byte{records.Nodes.Key("a"), records.NodeSelectorSets.Key("b"), records.Entries.Key("alias-c")}
	for _, key := range bad {
		put(t, d, key, "damaged!\xff")
	}
	for left := 5; left >= 3; left-- {
		names(t, d.PruneAttestedExpiredNodes(ctx, time.Unix(9, 0), false, 1), bad...)
		if n, err := d.CountAttestedNodes(ctx, &CountAttestedNodesRequest{}); int(n) != left || err != nil {
			t.Errorf("%d nodes are left, %v, want %d", n, err, left)
		}
	}
	if n, err := d.CountRegistrationEntries(ctx, &CountRegistrationEntriesRequest{}); n != 3 || err != nil {
		t.Errorf("%d aliases are left, %v", n, err)
	}
}

// Whatever is damaged, deleting an object by its id leaves no key behind but those
// of events, and touches nothing of another object.
func TestDelete_GetsRidOfWhatDoesNotDecode(t *testing.T) {
	ctx := context.Background()
	td := spiffeid.RequireTrustDomainFromString("td")
	create := func(t *testing.T, d *DataStore) {
		createNode(t, d, "node", "alias")
		createNode(t, d, "node2", "alias2")
		for _, id := range []string{"spiffe://td", "spiffe://td2"} {
			if _, err := d.CreateBundle(ctx, &spirev1.Bundle{TrustDomainId: id}); err != nil {
				t.Fatal(err)
			}
		}
		createAll(t, d, someEntry("entry", federating("spiffe://td", "spiffe://td2"), expiring(7)), someEntry("entry2", federating("spiffe://td2")))
		for _, name := range []string{"td", "td2"} {
			if err := change(d, func(ctx context.Context, tx store.Tx) error {
				_, err := relationships.create(ctx, tx, &recordsv1.FederationRelationship{TrustDomain: name})
				return err
			}); err != nil {
				t.Fatal(err)
			}
			if err := d.CreateJoinToken(ctx, &JoinToken{Token: name, Expiry: time.Unix(1, 0)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	deleteNode := func(d *DataStore) error {
		n, err := d.DeleteAttestedNode(ctx, "node")
		if n.GetSpiffeId() != "node" {
			err = fmt.Errorf("deleted %v, %w", n, err)
		}
		return err
	}
	tests := map[string]struct {
		keys   [][]byte
		delete func(*DataStore) error
	}{
		"entry": {[][]byte{records.Entries.Key("entry")}, func(d *DataStore) error {
			e, err := d.DeleteRegistrationEntry(ctx, "entry")
			if !reflect.DeepEqual(e, &entry{EntryId: "entry"}) && !reflect.DeepEqual(e.GetFederatesWith(), []string{"spiffe://td", "spiffe://td2"}) {
				err = fmt.Errorf("deleted %v, %w", e, err)
			}
			return err
		}},
		"node":           {[][]byte{records.Nodes.Key("node")}, deleteNode},
		"node selectors": {[][]byte{records.NodeSelectorSets.Key("node")}, deleteNode},
		"alias":          {[][]byte{records.Entries.Key("alias")}, deleteNode},
		"node and all": {[][]byte{
			records.Nodes.Key("node"), records.NodeSelectorSets.Key("node"), records.Entries.Key("alias"),
		}, deleteNode},
		"bundle, entry": {[][]byte{records.Bundles.Key("spiffe://td"), records.Entries.Key("entry")}, func(d *DataStore) error {
			return d.DeleteBundle(ctx, "spiffe://td", Delete)
		}},
		"relationship": {[][]byte{records.FederationRelationships.Key("td")}, func(d *DataStore) error {
			return d.DeleteFederationRelationship(ctx, td)
		}},
		"token": {[][]byte{records.JoinTokens.Key("td")}, func(d *DataStore) error { return d.DeleteJoinToken(ctx, "td") }},
		"selectors alone": {[][]byte{records.NodeSelectorSets.Key("node")}, func(d *DataStore) error {
			return d.SetNodeSelectors(ctx, "node", nil)
		}},
		"selectors replaced": {[][]byte{records.NodeSelectorSets.Key("node")}, func(d *DataStore) error {
			return d.SetNodeSelectors(ctx, "node", []*spirev1.Selector{{Type: "b", Value: "2"}, {Type: "c", Value: "3"}})
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			whole, closeStore := newDataStore(t)
			defer closeStore()
			create(t, whole)
			if err := test.delete(whole); err != nil {
				t.Fatal(err)
			}
			for _, value := range []string{"", "damaged!\xff", "\x00\x00\x00\x00\x00\x00\x00\x02\xff"} {
				d, closeStore := newDataStore(t)
				defer closeStore()
				var logged []string
				d.log = slog.New(logLines{&logged})
				create(t, d)
				for _, key := range test.keys {
					put(t, d, key, value)
				}
				if err := test.delete(d); err != nil {
					t.Fatal(err)
				}
				if got, want := allKeys(t, d), allKeys(t, whole); !slices.Equal(got, want) {
					t.Errorf("left are keys %q, want %q", got, want)
				}
				warned := strings.Count(strings.Join(logged, "\n"), "Deleted a record that could not be decoded")
				if warned != len(test.keys) {
					t.Errorf("logged %q for %d records", logged, len(test.keys))
				}
			}
		})
	}
}

// allKeys returns all keys, but for the numbers of the sets of selectors: a set
// that replaces another has a new one.
func allKeys(t *testing.T, d *DataStore) []string {
	t.Helper()
	found, _, err := d.store.Get(context.Background(), store.Linearizable(), store.Range{})
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, kv := range found {
		key := string(kv.Key)
		if p, err := records.NodeSelectorSets.Posting(kv.Key, kv.Value); err == nil {
			key = fmt.Sprintf("%s of %s", key[:len(key)-store.PatchSize], p.ID)
		}
		all = append(all, key)
	}
	slices.Sort(all)
	return all
}

// An entry that can't be decoded can't lose a trust domain: the bundle stays.
func TestDissociate_StopsAtWhatDoesNotDecode(t *testing.T) {
	ctx := context.Background()
	d, closeStore := newDataStore(t)
	defer closeStore()
	if _, err := d.CreateBundle(ctx, &spirev1.Bundle{TrustDomainId: "td"}); err != nil {
		t.Fatal(err)
	}
	createAll(t, d, someEntry("a", federating("td")), someEntry("b", federating("td")))
	spoil(t, d, "b")
	wantMalformed(t, d.DeleteBundle(ctx, "td", Dissociate), "b")
	a, err := d.FetchRegistrationEntry(ctx, "a")
	if err != nil || a.RevisionNumber != 0 || len(a.FederatesWith) != 1 {
		t.Errorf("the other entry is %v, %v", a, err)
	}
	if b, err := d.FetchBundle(ctx, "td"); b == nil || err != nil {
		t.Errorf("the bundle is %v, %v", b, err)
	}
}

// hookedStore calls its hook before the second transaction that may write.
type hookedStore struct {
	store.Store
	writes int
	hook   func()
}

func (s *hookedStore) Begin(ctx context.Context, opts store.TxOptions) (store.Tx, error) {
	if !opts.ReadOnly {
		if s.writes++; s.writes == 2 {
			s.hook()
		}
	}
	return s.Store.Begin(ctx, opts)
}

// What was found of a damaged object says nothing of one that took its place.
func TestDelete_LooksAgainForWhatTookTheDamagedPlace(t *testing.T) {
	ctx := context.Background()
	d, closeStore := newDataStore(t)
	defer closeStore()
	createAll(t, d, someEntry("a"), someEntry("b"))
	if _, err := d.DeleteRegistrationEntry(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	want := allKeys(t, d)
	createAll(t, d, someEntry("b"))
	spoil(t, d, "b")
	hooked := &hookedStore{Store: d.store, hook: func() {
		if _, err := d.DeleteRegistrationEntry(ctx, "b"); err != nil {
			t.Error(err)
		}
		createAll(t, d, someEntry("b"))
		put(t, d, records.Entries.Key("b"), "damaged otherwise")
	}}
	other, err := New(hooked, Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.DeleteRegistrationEntry(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	got := slices.DeleteFunc(allKeys(t, d), func(key string) bool {
		_, err := records.EntryEvents.DecodePair([]byte(key), nil)
		return err == nil && !slices.Contains(want, key)
	})
	if !slices.Equal(got, want) {
		t.Errorf("left are keys %q, want %q", got, want)
	}
}
