package check_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/check"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
)

// fleet is a run with an agent that has a region, and entries for it.
func fleet(t *testing.T) *check.Fleet {
	t.Helper()
	h := check.NewHistory()
	entry := func(id, spiffeID, parent string, selectors ...*spirev1.Selector) api.Event {
		return entryPut(&spirev1.RegistrationEntry{EntryId: id, SpiffeId: "spiffe://a" + spiffeID, ParentId: "spiffe://a" + parent, Selectors: selectors}, 1)
	}
	north, south := &spirev1.Selector{Type: "region", Value: "north"}, &spirev1.Selector{Type: "region", Value: "south"}
	selectors, err := records.NodeSelectorSets.Encode(records.Item[*records.NodeSelectors]{
		Number: 1, Object: &records.NodeSelectors{SpiffeID: "spiffe://a/agent", Selectors: []*spirev1.Selector{north}},
	})
	if err != nil {
		t.Fatal(err)
	}
	h.Add(batch(1,
		api.Event{Kind: "put", Key: records.NodeSelectorSets.Key("spiffe://a/agent"), Value: selectors},
		entry("alias-north", "/north", "/spire/server", north),
		entry("alias-south", "/south", "/spire/server", south),
		entry("alias-both", "/both", "/spire/server", north, south),
		entry("own", "/own", "/agent"),
		entry("below", "/below", "/own"),
		entry("in-north", "/x", "/north"),
		entry("in-south", "/y", "/south"),
		entry("in-both", "/z", "/both"),
		entry("circle", "/agent", "/below"),
	))
	f, err := h.Fleet()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFleet_AuthorizedIsWhatIsBelowTheAgentAndItsAliases(t *testing.T) {
	got := slices.Sorted(maps.Keys(fleet(t).Authorized("spiffe://a/agent")))
	if want := []string{"below", "circle", "in-north", "own"}; !slices.Equal(got, want) {
		t.Errorf("authorised for %q, want %q", got, want)
	}
	if got := fleet(t).Authorized("spiffe://a/stranger"); len(got) > 0 {
		t.Errorf("a stranger is authorised for %v", got)
	}
}

func TestFleet_CompareFindsWhatIsWrong(t *testing.T) {
	right := []api.AuthorizedEntry{{ID: "own"}, {ID: "in-north"}, {ID: "circle"}, {ID: "below"}}
	for _, test := range []struct {
		name string
		got  []api.AuthorizedEntry
		want string
	}{
		{"all as it should be", right, ""},
		{"one is missing", right[1:], `1 entries too few, such as "own"`},
		{"one is twice", append(slices.Clone(right), right[0]), `entry "own", which is not the agent's or was given twice`},
		{"one is another agent's", append(slices.Clone(right), api.AuthorizedEntry{ID: "in-south"}), `entry "in-south", which is not`},
		{"one is old", append([]api.AuthorizedEntry{{ID: "own", Revision: 3}}, right[1:]...), `entry "own" at its revision 3, not 0`},
	} {
		if got := fleet(t).Compare("spiffe://a/agent", test.got); !strings.Contains(got, test.want) || (got == "") != (test.want == "") {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
