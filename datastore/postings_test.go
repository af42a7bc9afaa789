package datastore

import (
	"context"
	"fmt"
	"testing"

	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// countingTx counts the pairs that scans return.
type countingTx struct {
	store.Tx
	pairs int
}

func (tx *countingTx) Scan(ctx context.Context, r store.Range, limit int) ([]store.KeyValue, error) {
	pairs, err := tx.Tx.Scan(ctx, r, limit)
	tx.pairs += len(pairs)
	return pairs, err
}

// TestPostings_ReadLittleOfWhatTheySkip lists by two selectors, of which all
// entries have one and every two hundredth has the other.
func TestPostings_ReadLittleOfWhatTheySkip(t *testing.T) {
	const total, rareEvery = 4000, 200
	d, closeStore := newDataStore(t)
	defer closeStore()
	ctx := context.Background()
	common := &spirev1.Selector{Type: "b", Value: "common"}
	rare := &spirev1.Selector{Type: "a", Value: "rare"}
	var given []*entry
	for i := range total {
		e := &entry{SpiffeId: fmt.Sprint("spiffe://td/", i), Selectors: []*spirev1.Selector{common}}
		if i%rareEvery == rareEvery-1 {
			e.Selectors = append(e.Selectors, rare)
		}
		given = append(given, e)
	}
	if _, err := d.ImportRegistrationEntries(ctx, given); err != nil {
		t.Fatal(err)
	}
	for _, values := range [][]*spirev1.Selector{{rare, common}, {common, rare}} {
		var scanned int
		items, err := view(ctx, d, store.Linearizable(), func(tx store.Tx) (found []records.Item[*entry], err error) {
			counting := &countingTx{Tx: tx}
			found, _, err = testEntries.list(ctx, counting, query{filters: []filter{
				testEntries.equals(records.FieldSelector, records.SelectorValue(values[0].Type, values[0].Value)),
				testEntries.equals(records.FieldSelector, records.SelectorValue(values[1].Type, values[1].Value)),
			}}, &MalformedRecordsError{})
			scanned = counting.pairs
			return found, err
		})
		if err != nil {
			t.Fatal(err)
		}
		for i, item := range items {
			if want := uint64((i + 1) * rareEvery); item.Number != want {
				t.Errorf("entry %d found is number %d, want %d", i, item.Number, want)
			}
		}
		if len(items) != total/rareEvery {
			t.Errorf("%d entries found", len(items))
		}
		if most := (2*len(items) + 2) * postingsPageMin; scanned > most {
			t.Errorf("%d records read to find %d, want at most %d", scanned, len(items), most)
		}
	}
}

// Who counts by one filter asks the store to count, and reads nothing.
func TestCount_ByOneFilterReadsNothing(t *testing.T) {
	d, closeStore := newDataStore(t)
	defer closeStore()
	ctx := context.Background()
	createAll(t, d, someEntry("a", expiring(1)), someEntry("b", expiring(2)), someEntry("c"))
	selector := records.SelectorValue("all", "1")
	for name, test := range map[string]struct {
		filters []filter
		want    int
	}{
		"none":     {nil, 3},
		"equal":    {[]filter{testEntries.equals(records.FieldParentID, "p-a")}, 1},
		"superset": {[]filter{testEntries.matches(records.FieldSelector, []string{selector, selector}, Superset)}, 3},
		"any":      {[]filter{testEntries.matches(records.FieldSelector, []string{selector}, MatchAny)}, 3},
		"expired":  {[]filter{testEntries.expiresBefore(2)}, 1},
		"valid":    {[]filter{testEntries.expiresFrom(1)}, 2},
	} {
		read := 0
		n, err := view(ctx, d, store.Linearizable(), func(tx store.Tx) (int, error) {
			counting := &countingTx{Tx: tx}
			n, err := testEntries.count(ctx, counting, test.filters...)
			read = counting.pairs
			return n, err
		})
		if n != test.want || err != nil || read != 0 {
			t.Errorf("%s: got %d, %v, and read %d records, want %d", name, n, err, read, test.want)
		}
	}
}
