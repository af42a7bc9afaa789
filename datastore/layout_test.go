package datastore_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spire-raft/spire-raft/datastore"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/memstore"
)

var update = flag.Bool("update", false, "write testdata/layout.txt; docs/DATASTORE.md must then be changed to match")

// TestLayout writes down what a store holds of one object of each kind. The
// document that explains it quotes every line.
func TestLayout(t *testing.T) {
	got := layout(t)
	const golden = "testdata/layout.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the layout has changed, which stored data depends on. Got:\n%s", got)
	}
	document, err := os.ReadFile("../docs/DATASTORE.md")
	if err != nil {
		t.Fatal(err)
	}
	quoted := make(map[string]bool)
	for line := range strings.Lines(string(document)) {
		quoted[strings.TrimSpace(line)] = true
	}
	for line := range strings.Lines(got) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") && !quoted[line] {
			t.Errorf("docs/DATASTORE.md lacks the line\n%s", line)
		}
	}
}

// layout creates objects and returns what each adds to the store.
func layout(t *testing.T) string {
	s := memstore.New(memstore.Config{})
	d, err := datastore.New(s, datastore.Config{Clock: func() time.Time { return time.Unix(1_800_000_000, 0) }})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	var text strings.Builder
	seen := make(map[string]string)
	for _, step := range layoutSteps(d) {
		if err := step.create(ctx); err != nil {
			t.Fatalf("%s: %v", step.title, err)
		}
		fmt.Fprintf(&text, "# %s\n", step.title)
		all := contents(t, s)
		for _, key := range slices.Sorted(maps.Keys(all)) {
			if _, ok := seen[key]; !ok {
				fmt.Fprintf(&text, "%s\n  = %s\n", readable(key[:1])+" "+readable(key[1:]), readable(all[key]))
			}
		}
		text.WriteString("\n")
		seen = all
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	return text.String()
}

type layoutStep struct {
	title  string
	create func(context.Context) error
}

func layoutSteps(d *datastore.DataStore) []layoutStep {
	selectors := []*spirev1.Selector{{Type: "unix", Value: "uid:0"}, {Type: "unix", Value: "gid:0"}}
	return []layoutStep{
		{"bundle", func(ctx context.Context) error {
			_, err := d.CreateBundle(ctx, &spirev1.Bundle{TrustDomainId: "spiffe://b", RefreshHint: 60})
			return err
		}},
		{"registration entry", func(ctx context.Context) error {
			_, err := d.CreateRegistrationEntry(ctx, &spirev1.RegistrationEntry{
				EntryId: "entry-1", SpiffeId: "spiffe://a/web", ParentId: "spiffe://a/node", Selectors: selectors,
				FederatesWith: []string{"spiffe://b"}, Hint: "web", Downstream: true, EntryExpiry: 1_900_000_000,
			})
			return err
		}},
		{"attested node", func(ctx context.Context) error {
			_, err := d.CreateAttestedNode(ctx, &spirev1.AttestedNode{
				SpiffeId: "spiffe://a/node", AttestationDataType: "k8s_psat", CertSerialNumber: "1234",
				CertNotAfter: 1_900_000_000, CanReattest: true,
			})
			return err
		}},
		{"node selectors", func(ctx context.Context) error { return d.SetNodeSelectors(ctx, "spiffe://a/node", selectors) }},
		{"join token", func(ctx context.Context) error {
			return d.CreateJoinToken(ctx, &datastore.JoinToken{Token: "token", Expiry: time.Unix(1_900_000_000, 0)})
		}},
		{"federation relationship", func(ctx context.Context) error {
			_, err := d.CreateFederationRelationship(ctx, &datastore.FederationRelationship{
				TrustDomain:           spiffeid.RequireTrustDomainFromString("b"),
				BundleEndpointURL:     &url.URL{Scheme: "https", Host: "b.test"},
				BundleEndpointProfile: datastore.BundleEndpointWeb,
			})
			return err
		}},
		{"CA journal", func(ctx context.Context) error {
			_, err := d.SetCAJournal(ctx, &datastore.CAJournal{Data: []byte("data"), ActiveX509AuthorityID: "0a1b"})
			return err
		}},
	}
}

// contents returns all pairs. The random key of the journal becomes that of the
// document.
func contents(t *testing.T, s store.Store) map[string]string {
	t.Helper()
	pairs, _, err := s.Get(t.Context(), store.Linearizable(), store.Prefix([]byte("d")), store.Prefix([]byte("i")))
	if err != nil {
		t.Fatal(err)
	}
	var random, fixed []byte
	all := make(map[string]string)
	for _, kv := range pairs {
		if id, ok := bytes.CutPrefix(kv.Key, []byte("dca-journal\x00\x01")); ok {
			random, fixed = bytes.TrimSuffix(id, []byte{0x00, 0x01}), []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
		}
	}
	for _, kv := range pairs {
		if random != nil {
			kv.Key, kv.Value = bytes.ReplaceAll(kv.Key, random, fixed), bytes.ReplaceAll(kv.Value, random, fixed)
		}
		all[string(kv.Key)] = string(kv.Value)
	}
	return all
}

// words is the text in the objects and in the layout, a longer word before one
// that it begins with.
var words = []string{
	"spiffe://a/node", "spiffe://a/web", "spiffe://b", "entry-1", "unix", "uid:0", "gid:0", "web", "k8s_psat", "1234",
	"token", "https://b.test", "https_web", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "data", "0a1b",
	"bundle", "entry-event", "entry", "node-event", "node-selectors", "node", "join-token", "federation-relationship",
	"ca-journal", "id\x00", "parent_id", "spiffe_id", "hint", "downstream", "selector", "federates_with", "expiry",
	"similar", "type", "banned", "can_reattest", "authority",
}

// readable is s in hexadecimal, but for words and the kind of key.
func readable(s string) string {
	if s == "d" || s == "i" {
		return `"` + s + `"`
	}
	var parts []string
	for len(s) > 0 {
		i := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(s, w) })
		if i < 0 {
			parts = append(parts, fmt.Sprintf("%02x", s[0]))
			s = s[1:]
			continue
		}
		word := strings.TrimSuffix(words[i], "\x00")
		parts = append(parts, `"`+word+`"`)
		s = s[len(word):]
	}
	return strings.Join(parts, " ")
}
