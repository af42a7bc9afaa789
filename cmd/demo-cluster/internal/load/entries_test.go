package load_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/load"
	"github.com/spire-raft/spire-raft/testdata"
)

const good = `{"entry_id":"e1","spiffe_id":"spiffe://a/x","parent_id":"spiffe://a/p","selectors":[{"type":"unix","value":"uid:1"}]}`

func list(entries ...string) string {
	return `{"entries":[` + strings.Join(entries, ",") + `]}`
}

func TestParseEntries_BuiltIn(t *testing.T) {
	entries, err := load.ParseEntries("built-in", testdata.RegistrationEntries())
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) < 200 {
		t.Errorf("%d entries, want a few hundred", len(entries))
	}
}

func TestParseEntries_IndexesWhatAnEntryIsFoundBy(t *testing.T) {
	const entry = `{"entry_id":"e1","spiffe_id":"spiffe://a/x","parent_id":"spiffe://a/p","hint":"db","federates_with":["spiffe://b"],
		"selectors":[{"type":"unix","value":"uid:1"},{"type":"k8s","value":"ns:x"}],"something_new":7}`
	entries, err := load.ParseEntries("f", []byte(list(entry)))
	if err != nil {
		t.Fatal(err)
	}
	want := []api.Index{
		{Field: "spiffe_id", Value: "spiffe://a/x"},
		{Field: "parent_id", Value: "spiffe://a/p"},
		{Field: "selector", Value: "unix:uid:1"},
		{Field: "selector", Value: "k8s:ns:x"},
		{Field: "federates_with", Value: "spiffe://b"},
		{Field: "hint", Value: "db"},
	}
	e := entries[0]
	if e.ID != "e1" || !slices.Equal(e.Indexes, want) || string(e.Body) != entry {
		t.Errorf("parsed %+v", e)
	}
}

func TestParseEntries_AnEntryWithoutIDGetsOne(t *testing.T) {
	without := strings.Replace(good, `"entry_id":"e1",`, "", 1)
	entries, err := load.ParseEntries("f", []byte(list(without, good)))
	if err != nil {
		t.Fatal(err)
	}
	if entries[0].ID == "" || entries[0].ID == entries[1].ID {
		t.Errorf("ids %q and %q", entries[0].ID, entries[1].ID)
	}
}

func TestParseEntries_NamesWhatIsWrong(t *testing.T) {
	spoil := func(old, with string) string {
		return list(good, strings.Replace(strings.Replace(good, "e1", "e2", 1), old, with, 1))
	}
	for _, test := range []struct {
		name, data string
		want       []string
	}{
		{"nothing", "", []string{"unexpected end"}},
		{"broken JSON", "{\n\"entries\": [\n}", []string{"line 3", "invalid character"}},
		{"a list", "[]", []string{"cannot unmarshal array"}},
		{"no entries", "{}", []string{`"entries" has 0 elements`}},
		{"entries that are no list", `{"entries":{}}`, []string{"line 1", "entries"}},
		{"an entry that is a string", list(`"x"`), []string{"entry 1", "string"}},
		{"no spiffe_id", spoil(`"spiffe_id":"spiffe://a/x",`, ""), []string{"entry 2", "spiffe_id: is missing"}},
		{"no parent_id", spoil(`"parent_id":"spiffe://a/p",`, ""), []string{"entry 2", "parent_id: is missing"}},
		{"a spiffe_id of another scheme", spoil("spiffe://a/x", "http://a/x"), []string{"entry 2", "spiffe_id:", "does not begin with spiffe://"}},
		{"a spiffe_id that is a number", spoil(`"spiffe://a/x"`, "7"), []string{"entry 2", "spiffe_id: is a number, must be a string"}},
		{"no selectors", spoil(`,"selectors":[{"type":"unix","value":"uid:1"}]`, ""), []string{"entry 2", "selectors: there must be at least one"}},
		{"an empty selector", spoil(`"uid:1"`, `""`), []string{"entry 2", "selectors[0]: type and value must not be empty"}},
		{"a selector twice", spoil(`[{`, `[{"type":"unix","value":"uid:1"},{`), []string{"entry 2", `selector: "unix:uid:1" occurs twice`}},
		{"an id twice", list(good, good), []string{"entry 2", `entry_id "e1" is that of entry 1 too`}},
		{"a huge selector", spoil("uid:1", strings.Repeat("x", 5000)), []string{"entry 2", "selector: has 5005 bytes, the limit is 4096"}},
		{"a huge id", spoil("e2", strings.Repeat("x", 5000)), []string{"entry 2", "entry_id: has 5000 bytes"}},
		{"a huge entry", spoil(`"entry_id"`, `"x":"`+strings.Repeat("x", 300_000)+`","entry_id"`), []string{"entry 2", "bytes, the limit is 262144"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := load.ParseEntries("my.json", []byte(test.data))
			if !errors.Is(err, load.ErrEntries) {
				t.Fatalf("error %v", err)
			}
			for _, want := range append(test.want, "my.json") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %.300q does not say %q", fmt.Sprint(err), want)
				}
			}
		})
	}
}
