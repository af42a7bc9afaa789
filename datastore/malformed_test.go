package datastore

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	recordsv1 "github.com/spire-raft/spire-raft/proto/records/v1"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

func put(t *testing.T, d *DataStore, key []byte, value string) {
	t.Helper()
	if _, err := d.store.Put(context.Background(), store.Pair{Key: key, Value: []byte(value)}); err != nil {
		t.Fatal(err)
	}
}

// names reports an error that isn't of code Unknown, or doesn't name the records
// with these keys, in any order, and no other.
func names(t *testing.T, err error, keys ...[]byte) {
	t.Helper()
	var got [][]byte
	if many, ok := errors.AsType[*MalformedRecordsError](err); ok {
		for _, bad := range many.Named {
			got = append(got, bad.Key)
		}
		if many.Count != len(many.Named) {
			t.Errorf("%d records, %d named", many.Count, len(many.Named))
		}
	} else if bad, ok := errors.AsType[*records.MalformedError](err); ok {
		got = append(got, bad.Key)
	}
	slices.SortFunc(got, slices.Compare[[]byte])
	slices.SortFunc(keys, slices.Compare[[]byte])
	if !reflect.DeepEqual(got, keys) || status.Code(err) != codes.Unknown || !errors.Is(err, records.ErrMalformed) {
		t.Errorf("got error %v, want one that names %q", err, keys)
	}
}

// lister lists a page: the ids, and the pagination of the response.
type lister func(*Pagination) ([]string, *Pagination, error)

// checkList compares the whole list, and pages of all sizes, with the ids of good
// records, which must come with an error that names the bad ones.
func checkList(t *testing.T, list lister, good []string, bad ...[]byte) {
	t.Helper()
	ids, next, err := list(nil)
	names(t, err, bad...)
	if !slices.Equal(ids, good) || next != nil {
		t.Errorf("listed %q and %v, want %q", ids, next, good)
	}
	for size := int32(1); size <= 4; size++ {
		var all []string
		named := map[string]bool{}
		for p := (&Pagination{PageSize: size}); ; {
			ids, next, err := list(p)
			if err != nil && !errors.Is(err, records.ErrMalformed) {
				t.Fatal(err)
			}
			if many, ok := errors.AsType[*MalformedRecordsError](err); ok {
				for _, bad := range many.Named {
					named[string(bad.Key)] = true
				}
			}
			if (next.Token == "") != (len(ids) == 0) || next.PageSize != size || len(ids) > int(size) {
				t.Fatalf("in pages of %d: got %d objects and %v", size, len(ids), next)
			}
			if all = append(all, ids...); len(ids) == 0 {
				break
			}
			p = next
		}
		if !slices.Equal(all, good) || len(named) != len(bad) {
			t.Errorf("in pages of %d: got %q and errors of %d records, want %q and %d", size, all, len(named), good, len(bad))
		}
	}
}

var alphabet = []string{"a", "b", "c", "d", "e", "f"}

// spoiled are those of alphabet that get damaged: the first, another in a row, and
// the last.
var spoiled = []string{"a", "b", "f"}

func TestList_ServesAllButWhatDoesNotDecode(t *testing.T) {
	ctx := context.Background()
	good := []string{"c", "d", "e"}
	t.Run("entries", func(t *testing.T) {
		d, closeStore := newDataStore(t)
		defer closeStore()
		var bad [][]byte
		for _, id := range alphabet {
			createAll(t, d, someEntry(id))
		}
		for _, id := range spoiled {
			spoil(t, d, id)
			bad = append(bad, records.Entries.Key(id))
		}
		for _, by := range []*BySelectors{nil, {Selectors: []*spirev1.Selector{{Type: "all", Value: "1"}}, Match: Superset}} {
			checkList(t, func(p *Pagination) ([]string, *Pagination, error) {
				got, err := d.ListRegistrationEntries(ctx, &ListRegistrationEntriesRequest{Pagination: p, BySelectors: by})
				var ids []string
				for _, e := range got.Entries {
					ids = append(ids, e.EntryId)
				}
				return ids, got.Pagination, err
			}, good, bad...)
		}
	})
	t.Run("bundles", func(t *testing.T) {
		d, closeStore := newDataStore(t)
		defer closeStore()
		var bad [][]byte
		for _, id := range alphabet {
			if _, err := d.CreateBundle(ctx, &spirev1.Bundle{TrustDomainId: id}); err != nil {
				t.Fatal(err)
			}
		}
		for _, id := range spoiled {
			bad = append(bad, records.Bundles.Key(id))
			put(t, d, records.Bundles.Key(id), "")
		}
		checkList(t, func(p *Pagination) ([]string, *Pagination, error) {
			got, err := d.ListBundles(ctx, &ListBundlesRequest{Pagination: p})
			var ids []string
			for _, b := range got.Bundles {
				ids = append(ids, b.TrustDomainId)
			}
			return ids, got.Pagination, err
		}, good, bad...)
	})
	t.Run("nodes", func(t *testing.T) { listSpoiledNodes(t, good) })
	t.Run("relationships", func(t *testing.T) { listSpoiledRelationships(t, good) })
}

// listSpoiledNodes damages one node, and the selectors of two.
func listSpoiledNodes(t *testing.T, good []string) {
	ctx := context.Background()
	d, closeStore := newDataStore(t)
	defer closeStore()
	for _, id := range alphabet {
		createNode(t, d, id, "")
	}
	sets := records.NodeSelectorSets
	put(t, d, records.Nodes.Key("b"), "damaged!\xff")
	put(t, d, sets.Key("a"), "damaged!\xff")
	put(t, d, sets.Key("f"), "")
	bad := [][]byte{records.Nodes.Key("b"), sets.Key("a"), sets.Key("f")}
	checkList(t, func(p *Pagination) ([]string, *Pagination, error) {
		got, err := d.ListAttestedNodes(ctx, &ListAttestedNodesRequest{Pagination: p, FetchSelectors: true})
		var ids []string
		for _, n := range got.Nodes {
			if ids = append(ids, n.SpiffeId); len(n.Selectors) != 1 {
				t.Errorf("%s has %d selectors", n.SpiffeId, len(n.Selectors))
			}
		}
		return ids, got.Pagination, err
	}, good, bad...)
	without, err := d.ListAttestedNodes(ctx, &ListAttestedNodesRequest{})
	names(t, err, records.Nodes.Key("b"))
	if len(without.Nodes) != 5 {
		t.Errorf("without selectors: got %d nodes", len(without.Nodes))
	}
	fetched, err := d.FetchAttestedNodes(ctx, append([]string{"none", "b"}, alphabet...))
	names(t, err, bad...)
	if len(fetched) != 3 || fetched["e"].GetSpiffeId() != "e" {
		t.Errorf("fetched %v", fetched)
	}
	listed, err := d.ListNodeSelectors(ctx, &ListNodeSelectorsRequest{})
	names(t, err, bad[1:]...)
	if len(listed.Selectors) != 4 || len(listed.Selectors["b"]) != 1 {
		t.Errorf("listed selectors %v", listed.Selectors)
	}
}

// listSpoiledRelationships damages one relationship, the URL of another, and the
// bundle of a third.
func listSpoiledRelationships(t *testing.T, good []string) {
	ctx := context.Background()
	d, closeStore := newDataStore(t)
	defer closeStore()
	kind := records.FederationRelationships
	for i, id := range alphabet {
		r := &recordsv1.FederationRelationship{TrustDomain: id, BundleEndpointProfile: "https_web"}
		if id == "b" {
			r.BundleEndpointUrl = "not\nvalid"
		}
		if err := change(d, func(ctx context.Context, tx store.Tx) error {
			_, err := relationships.create(ctx, tx, r)
			return err
		}); err != nil {
			t.Fatal(i, err)
		}
	}
	if _, err := d.CreateBundle(ctx, &spirev1.Bundle{TrustDomainId: "spiffe://a"}); err != nil {
		t.Fatal(err)
	}
	put(t, d, records.Bundles.Key("spiffe://a"), "damaged!\xff")
	put(t, d, kind.Key("f"), "damaged!\xff")
	checkList(t, func(p *Pagination) ([]string, *Pagination, error) {
		got, err := d.ListFederationRelationships(ctx, &ListFederationRelationshipsRequest{Pagination: p})
		var ids []string
		for _, fr := range got.FederationRelationships {
			ids = append(ids, fr.TrustDomain.Name())
		}
		return ids, got.Pagination, err
	}, good, kind.Key("a"), kind.Key("b"), kind.Key("f"))
	_, err := d.ListFederationRelationships(ctx, &ListFederationRelationshipsRequest{})
	if err == nil || !strings.Contains(err.Error(), `"spiffe://a"`) {
		t.Errorf("error %v doesn't name the bundle", err)
	}
}

// An index record that doesn't decode, or that leads nowhere, is one that can't be
// served: neither takes others down.
func TestList_NamesIndexRecordsThatLeadNowhere(t *testing.T) {
	ctx := context.Background()
	d, closeStore := newDataStore(t)
	defer closeStore()
	createAll(t, d, someEntry("a"), someEntry("b"), someEntry("c"), someEntry("d"))
	value := records.SelectorValue("all", "1")
	noSize := records.Entries.IndexKey(records.IndexRecord{Field: records.FieldSelector, Value: value}, 2)
	put(t, d, noSize, "")
	strange := append(records.Entries.IndexPrefix(records.FieldSelector, value), "\x00\x00\x00\x00\x00\x00\x00\x02!"...)
	put(t, d, strange, "x")
	if _, _, err := d.store.Delete(ctx, store.Key(records.Entries.Key("c"))); err != nil {
		t.Fatal(err)
	}
	for _, match := range []MatchBehavior{Superset, MatchAny, Subset} {
		by := &BySelectors{Match: match, Selectors: []*spirev1.Selector{{Type: "all", Value: "1"}}}
		want := []string{"a", "d"}
		if match == Subset {
			for _, id := range alphabet {
				by.Selectors = append(by.Selectors, &spirev1.Selector{Type: "id", Value: id})
			}
			by.Selectors = by.Selectors[:3] // of c and d there is one that isn't asked for
			want = []string{"a"}
		}
		got, err := d.ListRegistrationEntries(ctx, &ListRegistrationEntriesRequest{BySelectors: by})
		bad := [][]byte{noSize, strange, records.Entries.Key("c")}
		if match == Subset {
			bad = bad[:2]
		}
		names(t, err, bad...)
		var ids []string
		for _, e := range got.Entries {
			ids = append(ids, e.EntryId)
		}
		if !slices.Equal(ids, want) {
			t.Errorf("match %d: got %q, want %q", match, ids, want)
		}
	}
}

func TestListNodes_NamesIndexRecordsThatLeadNowhere(t *testing.T) {
	d, closeStore := newDataStore(t)
	defer closeStore()
	createNode(t, d, "a", "")
	createNode(t, d, "b", "")
	byID := append(records.Nodes.IndexPrefix(records.FieldID, "a"), 0)
	byExpiry := append(records.Nodes.IndexPrefix(records.FieldExpiry, records.OrderedInt64(1)), 0)
	put(t, d, byID, "a")
	put(t, d, byExpiry, "a")
	got, err := d.ListAttestedNodes(context.Background(), &ListAttestedNodesRequest{
		BySpiffeIDs: []string{"b", "a"}, ByExpiresBefore: time.Unix(9, 0),
	})
	names(t, err, byID, byExpiry)
	if len(got.Nodes) != 1 || got.Nodes[0].SpiffeId != "b" {
		t.Errorf("got %v", got.Nodes)
	}
	names(t, d.PruneAttestedExpiredNodes(context.Background(), time.Unix(9, 0), false, 0), byExpiry)
	if n, err := d.CountAttestedNodes(context.Background(), &CountAttestedNodesRequest{ByBanned: new(bool)}); n != 0 || err != nil {
		t.Errorf("%d nodes are left, %v", n, err)
	}
}

func TestListEvents_ServesAllButWhatDoesNotDecode(t *testing.T) {
	ctx := context.Background()
	d, closeStore := newDataStore(t)
	defer closeStore()
	createAll(t, d, someEntry("a"), someEntry("b"), someEntry("c"))
	key := records.EntryEvents.Key(2)
	put(t, d, key, "\xff")
	want := []RegistrationEntryEvent{{1, "a"}, {3, "c"}}
	got, err := d.ListRegistrationEntryEvents(ctx, &ListRegistrationEntryEventsRequest{})
	names(t, err, key)
	if !slices.Equal(got.Events, want) {
		t.Errorf("got %v, want %v", got.Events, want)
	}
	if _, err := d.FetchRegistrationEntryEvent(ctx, 2); err != nil {
		names(t, err, key)
	}
	put(t, d, records.NodeEvents.Key(1), "\xff")
	nodeEvents, err := d.ListAttestedNodeEvents(ctx, &ListAttestedNodeEventsRequest{})
	names(t, err, records.NodeEvents.Key(1))
	if nodeEvents.Events == nil || len(nodeEvents.Events) > 0 {
		t.Errorf("got %#v", nodeEvents.Events)
	}
	names(t, d.PruneRegistrationEntryEvents(ctx, -time.Hour), key)
	got, err = d.ListRegistrationEntryEvents(ctx, &ListRegistrationEntryEventsRequest{})
	names(t, err, key)
	if len(got.Events) > 0 {
		t.Errorf("left after the prune: %v", got.Events)
	}
}

func TestPrune_GoesOnWithWhatDecodes(t *testing.T) {
	ctx := context.Background()
	d, closeStore := newDataStore(t)
	defer closeStore()
	for _, id := range alphabet {
		if err := d.CreateJoinToken(ctx, &JoinToken{Token: id, Expiry: time.Unix(1, 0)}); err != nil {
			t.Fatal(err)
		}
		if _, err := d.SetCAJournal(ctx, &CAJournal{ActiveX509AuthorityID: id}); err != nil {
			t.Fatal(err)
		}
	}
	put(t, d, records.JoinTokens.Key("b"), "")
	err := d.PruneJoinTokens(ctx, time.Unix(9, 0))
	names(t, err, records.JoinTokens.Key("b"))
	for _, id := range alphabet {
		if token, err := d.FetchJoinToken(ctx, id); id != "b" && (token != nil || err != nil) {
			t.Errorf("token %s is left: %v, %v", id, token, err)
		}
	}

	var key []byte
	if err := change(d, func(ctx context.Context, tx store.Tx) error {
		item, _, err := journals.byNumber(ctx, tx, 2)
		key = records.CAJournals.Key(item.Object.Key)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	put(t, d, key, "")
	_, err = d.FetchCAJournal(ctx, "b")
	names(t, err, key)
	if all, err := d.ListCAJournalsForTesting(ctx); len(all) != 5 {
		names(t, err, key)
		t.Errorf("%d journals listed", len(all))
	}
	err = d.PruneCAJournals(ctx, 9)
	if bad, ok := errors.AsType[*records.MalformedError](err); !ok || !slices.Equal(bad.Key, key) || status.Code(err) != codes.Internal {
		t.Errorf("got %v", err)
	}
	if all, err := d.ListCAJournalsForTesting(ctx); len(all) != 0 {
		t.Errorf("left: %v, %v", all, err)
	}
	if _, _, err := d.store.Delete(ctx, store.Key(key)); err != nil {
		t.Fatal(err)
	}
	_, err = d.FetchCAJournal(ctx, "b") // whose index record is left
	names(t, err, key)
}

func TestMalformedRecordsError_IsBounded(t *testing.T) {
	var bad MalformedRecordsError
	if bad.collect(errNotFound()) || bad.collect(nil) || bad.errOrNil() != nil {
		t.Error("another error was taken")
	}
	for range 3 * malformedNamedMax {
		if !bad.collect(fmt.Errorf("list: %w", records.Entries.Malformed(strings.Repeat("ä", 1<<14), errors.New("damaged")))) {
			t.Error("not taken")
		}
	}
	more := bad
	more.add(bad)
	if n := len(more.Error()); n > (malformedNamedMax+1)*(malformedTextMax+10) {
		t.Errorf("text of %d bytes", n)
	}
	if more.Count != 2*bad.Count || len(more.Named) != malformedNamedMax || !strings.HasSuffix(more.Error(), "; and 40 more") {
		t.Errorf("%d of %d, %q", len(more.Named), more.Count, more.Error())
	}
}
