package check

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
)

// serverPath ends the parent of node aliases: entries whose SPIFFE ID stands for
// all agents that have the entry's selectors.
const serverPath = "/spire/server"

// Fleet is which agents there are and which entries they may have, found from
// what a history adds up to. It is simple and slow, and shares nothing with the
// servers' caches, whose answers are held against it.
type Fleet struct {
	entries   map[string]*spirev1.RegistrationEntry // by id
	children  map[string][]string                   // ids of entries, by parent
	selectors map[string][]*spirev1.Selector        // by agent
}

// Fleet returns the fleet at the end of the history.
func (h *History) Fleet() (*Fleet, error) {
	f := &Fleet{
		entries:   make(map[string]*spirev1.RegistrationEntry),
		children:  make(map[string][]string),
		selectors: make(map[string][]*spirev1.Selector),
	}
	for _, p := range h.state {
		switch {
		case bytes.HasPrefix(p.Key, records.Entries.Prefix()):
			item, err := records.Entries.DecodePair(p.Key, p.Value)
			if err != nil {
				return nil, err
			}
			e := item.Object
			f.entries[e.EntryId] = e
			f.children[e.ParentId] = append(f.children[e.ParentId], e.EntryId)
		case bytes.HasPrefix(p.Key, records.NodeSelectorSets.Prefix()):
			item, err := records.NodeSelectorSets.DecodePair(p.Key, p.Value)
			if err != nil {
				return nil, err
			}
			f.selectors[item.Object.SpiffeID] = item.Object.Selectors
		}
	}
	return f, nil
}

// Authorized returns the entries that an agent may have, by id: those below the
// agent and below the aliases that stand for it.
func (f *Fleet) Authorized(agent string) map[string]*spirev1.RegistrationEntry {
	out := make(map[string]*spirev1.RegistrationEntry)
	seen := make(map[string]bool)
	var descend func(parent string)
	descend = func(parent string) {
		if seen[parent] {
			return
		}
		seen[parent] = true
		for _, id := range f.children[parent] {
			out[id] = f.entries[id]
			descend(f.entries[id].SpiffeId)
		}
	}
	descend(agent)
	for _, e := range f.entries {
		if strings.HasSuffix(e.ParentId, serverPath) && hasAll(f.selectors[agent], e.Selectors) {
			descend(e.SpiffeId)
		}
	}
	return out
}

func hasAll(have, want []*spirev1.Selector) bool {
	for _, w := range want {
		if !slices.ContainsFunc(have, func(s *spirev1.Selector) bool { return s.Type == w.Type && s.Value == w.Value }) {
			return false
		}
	}
	return len(want) > 0
}

// Compare returns what is wrong with the answer that an agent was given, or "".
func (f *Fleet) Compare(agent string, got []api.AuthorizedEntry) string {
	want := f.Authorized(agent)
	for _, g := range got {
		w, ok := want[g.ID]
		switch {
		case !ok:
			return fmt.Sprintf("entry %q, which is not the agent's or was given twice", g.ID)
		case w.RevisionNumber != g.Revision || w.CreatedAt != g.CreatedAt:
			return fmt.Sprintf("entry %q at its revision %d, not %d", g.ID, g.Revision, w.RevisionNumber)
		}
		delete(want, g.ID)
	}
	if len(want) > 0 {
		return fmt.Sprintf("%d entries too few, such as %q", len(want), slices.Min(slices.Collect(maps.Keys(want))))
	}
	return ""
}
