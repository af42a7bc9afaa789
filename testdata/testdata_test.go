package testdata_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"testing"

	"github.com/spire-raft/spire-raft/testdata"
)

type selector struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

// entry has the members that SPIRE's registration entries have as JSON.
type entry struct {
	EntryID              string          `json:"entry_id"`
	ParentID             string          `json:"parent_id"`
	SpiffeID             string          `json:"spiffe_id"`
	Selectors            []selector      `json:"selectors"`
	X509SvidTTL          int32           `json:"x509_svid_ttl"`
	JwtSvidTTL           int32           `json:"jwt_svid_ttl"`
	FederatesWith        []string        `json:"federates_with"`
	Admin                bool            `json:"admin"`
	Downstream           bool            `json:"downstream"`
	DNSNames             []string        `json:"dns_names"`
	Hint                 string          `json:"hint"`
	StoreSvid            bool            `json:"store_svid"`
	EntryExpiry          int64           `json:"entryExpiry"`
	AdditionalAttributes map[string]bool `json:"additional_attributes"`
}

// Forms that SPIRE demands.
var (
	entryIDForm  = regexp.MustCompile(`^[A-Za-z0-9._-]{1,255}$`)
	spiffeIDForm = regexp.MustCompile(`^spiffe://[a-z0-9._-]+(/[A-Za-z0-9._-]+)+$`)
	domainIDForm = regexp.MustCompile(`^spiffe://[a-z0-9._-]+$`)
	dnsNameForm  = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)+$`)
)

func TestRegistrationEntries_AreWhatSPIREAccepts(t *testing.T) {
	var file struct {
		Entries []entry `json:"entries"`
	}
	in := json.NewDecoder(bytes.NewReader(testdata.RegistrationEntries()))
	in.DisallowUnknownFields()
	if err := in.Decode(&file); err != nil {
		t.Fatal(err)
	}
	if n := len(file.Entries); n < 250 || n > 400 {
		t.Errorf("%d entries, want about 300", n)
	}
	ids, same := map[string]bool{}, map[string]bool{}
	for _, e := range file.Entries {
		for _, problem := range problems(e) {
			t.Errorf("entry %s: %s", e.EntryID, problem)
		}
		if ids[e.EntryID] {
			t.Errorf("entry %s: the id occurs twice", e.EntryID)
		}
		ids[e.EntryID] = true
		what := fmt.Sprint(e.SpiffeID, e.ParentID, e.Selectors)
		if same[what] {
			t.Errorf("entry %s: another has the same SPIFFE ID, parent and selectors", e.EntryID)
		}
		same[what] = true
	}
}

func problems(e entry) (found []string) {
	check := func(ok bool, problem string) {
		if !ok {
			found = append(found, problem)
		}
	}
	check(entryIDForm.MatchString(e.EntryID), "malformed entry_id")
	check(spiffeIDForm.MatchString(e.SpiffeID), "malformed spiffe_id "+e.SpiffeID)
	check(spiffeIDForm.MatchString(e.ParentID), "malformed parent_id "+e.ParentID)
	check(e.X509SvidTTL >= 0 && e.JwtSvidTTL >= 0, "negative TTL")
	check(e.EntryExpiry >= 0, "negative entryExpiry")
	check(!slices.ContainsFunc(e.FederatesWith, func(id string) bool { return !domainIDForm.MatchString(id) }), "malformed federates_with")
	check(!slices.ContainsFunc(e.DNSNames, func(name string) bool { return !dnsNameForm.MatchString(name) }), "malformed dns_names")
	check(distinct(e.DNSNames), "a DNS name occurs twice")

	check(len(e.Selectors) > 0, "no selectors")
	check(distinct(e.Selectors), "a selector occurs twice")
	for _, s := range e.Selectors {
		check(s.Type != "" && s.Value != "", "empty selector")
		check(!e.StoreSvid || s.Type == e.Selectors[0].Type, "store_svid with selectors of several types")
	}
	return found
}

func distinct[T comparable](list []T) bool {
	seen := map[T]bool{}
	for _, x := range list {
		if seen[x] {
			return false
		}
		seen[x] = true
	}
	return true
}
