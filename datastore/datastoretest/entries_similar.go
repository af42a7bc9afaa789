package datastoretest

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

func createEntrySimilar(e *env) {
	e.createBundles("spiffe://a", "spiffe://b")
	e.createEntries(fullWorkload("first"))
	e.clock.advance(time.Hour) // first has expired
	stored := storedFullWorkload("first", e.clock.Now().Add(-time.Hour).Unix())
	tests := []struct {
		name     string
		change   func(*registration)
		existing bool
	}{
		{"the same", func(*registration) {}, true},
		{"without id", func(w *registration) { w.EntryId = "" }, true},
		{"all else differs", func(w *registration) {
			*w = registration{EntryId: "other", SpiffeId: w.SpiffeId, ParentId: w.ParentId, Selectors: w.Selectors, Hint: "other"}
		}, true},
		{"selectors in another order", func(w *registration) { slices.Reverse(w.Selectors) }, true},
		{"selectors repeated", func(w *registration) { w.Selectors = append(w.Selectors, w.Selectors[0]) }, true},
		{"unknown bundle", func(w *registration) { w.FederatesWith = []string{"spiffe://none"} }, true},
		{"more selectors", func(w *registration) { w.Selectors = parseSelectors("z:1", "a:2", "m:3", "n:4") }, false},
		{"fewer selectors", func(w *registration) { w.Selectors = w.Selectors[1:] }, false},
		{"selectors in another case", func(w *registration) { w.Selectors[0].Type = "Z" }, false},
		{"selectors split elsewhere", func(w *registration) { w.Selectors = parseSelectors("z1:", "a:2", "m:3") }, false},
		{"another parent", func(w *registration) { w.ParentId += "2" }, false},
		{"no parent", func(w *registration) { w.ParentId = "" }, false},
		{"another SPIFFE ID", func(w *registration) { w.SpiffeId += "2" }, false},
		{"SPIFFE ID in another case", func(w *registration) { w.SpiffeId = strings.ToUpper(w.SpiffeId) }, false},
	}
	events := []string{"first"}
	for i, test := range tests {
		entry := fullWorkload("first")
		entry.EntryId = "new-" + strconv.Itoa(i)
		test.change(entry)
		got, existing, err := e.CreateOrReturnRegistrationEntry(e.ctx(), entry)
		if err != nil || existing != test.existing {
			e.Errorf("%s: got %v, %v", test.name, existing, err)
			continue
		}
		if existing && !reflect.DeepEqual(got, stored) {
			e.Errorf("%s: got %v, want %v", test.name, got, stored)
		}
		if !existing {
			events = append(events, entry.EntryId)
			continue
		}
		if got, err = e.CreateRegistrationEntry(e.ctx(), entry); err != nil || !reflect.DeepEqual(got, stored) {
			e.Errorf("%s: CreateRegistrationEntry: got %v, %v", test.name, got, err)
		}
	}
	e.wantEntryEvents(events...)
}

func createEntryOldestSimilar(e *env) {
	e.createEntries(workload("z", "a:1"), workload("a", "a:2"), workload("b", "a:3"))
	for _, id := range []string{"b", "a"} { // now all three are similar
		like := workload("z", "a:1")
		like.EntryId = id
		if _, err := e.UpdateRegistrationEntry(e.ctx(), like, nil); err != nil {
			e.Fatal(err)
		}
	}
	for _, want := range []string{"z", "a", "b"} {
		got, existing, err := e.CreateOrReturnRegistrationEntry(e.ctx(), workload("z", "a:1"))
		if err != nil || !existing || got.EntryId != want {
			e.Errorf("got %v, %v, %v, want %s", got, existing, err, want)
		}
		if _, err := e.DeleteRegistrationEntry(e.ctx(), want); err != nil {
			e.Fatal(err)
		}
	}
	e.createEntries(workload("z", "a:1"))
}
