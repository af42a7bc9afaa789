package datastoretest

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/store"
)

func createEntryUTF8(e *env) {
	for field, spoil := range map[string]func(*registration){
		"spiffe_id":      func(w *registration) { w.SpiffeId += "\xff" },
		"parent_id":      func(w *registration) { w.ParentId = "\xc3" },
		"hint":           func(w *registration) { w.Hint = "\xff" },
		"dns_names":      func(w *registration) { w.DnsNames = []string{"ok", "\xff"} },
		"federates_with": func(w *registration) { w.FederatesWith = []string{"\xff"} },
		"selectors":      func(w *registration) { w.Selectors = parseSelectors("ok:ok", "\xff:ok") },
	} {
		entry := workload("a", "a:1")
		spoil(entry)
		_, err := e.CreateRegistrationEntry(e.ctx(), entry)
		e.failsAs(err, codes.InvalidArgument, invalidEntry+field+" is not valid UTF-8")
	}
	selector := workload("a", "ok:\xff")
	_, err := e.CreateRegistrationEntry(e.ctx(), selector)
	e.failsAs(err, codes.InvalidArgument, invalidEntry+"selectors is not valid UTF-8")
	e.wantEntryEvents()
}

func createEntryManySelectors(e *env) {
	const n = 10_000
	entry := workload("a")
	for i := range n {
		entry.Selectors = append(entry.Selectors, &spirev1.Selector{Type: "t", Value: strconv.Itoa(i)})
		entry.DnsNames = append(entry.DnsNames, strconv.Itoa(i))
	}
	start := time.Now()
	e.createEntries(entry)
	entry.CreatedAt = e.clock.Now().Unix()
	e.wantEntry(entry)
	slices.Reverse(entry.Selectors)
	if got, err := e.UpdateRegistrationEntry(e.ctx(), entry, nil); err != nil || len(got.Selectors) != n {
		e.Error(err)
	}
	if _, existing, err := e.CreateOrReturnRegistrationEntry(e.ctx(), entry); err != nil || !existing {
		e.Errorf("again: existing %v, %v", existing, err)
	}
	if _, err := e.DeleteRegistrationEntry(e.ctx(), "a"); err != nil {
		e.Error(err)
	}
	// Far more than it takes: what is quadratic takes minutes.
	if took := time.Since(start); took > 20*time.Second {
		e.Errorf("took %v", took)
	}
}

func createEntryTooLarge(e *env) {
	large := workload("a", "a:1")
	large.Hint = strings.Repeat("h", store.ValueBytesMax)
	if _, err := e.CreateRegistrationEntry(e.ctx(), large); !errors.Is(err, store.ErrTooLarge) {
		e.Errorf("large value: %v", err)
	}
	many := workload("a")
	for i := range store.TxOpsMax {
		many.Selectors = append(many.Selectors, &spirev1.Selector{Value: strconv.Itoa(i)})
	}
	if _, err := e.CreateRegistrationEntry(e.ctx(), many); !errors.Is(err, store.ErrTooLarge) {
		e.Errorf("many selectors: %v", err)
	}
	e.wantNoEntry("a")
	e.wantEntryEvents()

	e.createEntries(workload("a", "a:1"))
	if _, err := e.UpdateRegistrationEntry(e.ctx(), large, nil); !errors.Is(err, store.ErrTooLarge) {
		e.Errorf("update: %v", err)
	}
	e.wantEntryEvents("a")
}
