package check

import (
	"strings"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
	"github.com/spire-raft/spire-raft/keys"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// Every write of the demo has an identity, which can be read off the change that
// it makes: a new entry's is its id, that of a later version of an entry its
// hint, and the others are named by the functions below.

// WritePrefix begins the identities of writes that nobody but the demo makes.
const WritePrefix = "write-"

// DeletionOf is the identity of the write that deletes an entry.
func DeletionOf(entryID string) string { return "delete " + entryID }

// BundleOf is the identity of the write that creates a trust domain's bundle.
func BundleOf(trustDomainID string) string { return records.Bundles.Type() + " " + trustDomainID }

// AgentOf is the identity of the write that creates an agent.
func AgentOf(spiffeID string) string { return records.Nodes.Type() + " " + spiffeID }

// SelectorsOf is the identity of the write that gives an agent its selectors.
func SelectorsOf(spiffeID string) string { return records.NodeSelectorSets.Type() + " " + spiffeID }

// WriteOf returns the identity of the write that made a change, or "" where the
// change alone doesn't tell.
func WriteOf(e api.Event) string {
	key, err := keys.ParseItem(e.Key)
	if err != nil {
		return "" // an index or an event: its object comes in the same batch
	}
	typ, id, deleted := string(key.Type), string(key.ID), e.Kind == store.EventDelete.String()
	switch {
	case typ != records.Entries.Type() && !deleted:
		return typ + " " + id
	case typ != records.Entries.Type():
		return ""
	case deleted:
		return DeletionOf(id)
	}
	item, err := records.Entries.DecodePair(e.Key, e.Value)
	switch {
	case err != nil:
		return "" // the history says so
	case item.Object.RevisionNumber == 0:
		return id
	case strings.HasPrefix(item.Object.Hint, WritePrefix):
		return item.Object.Hint
	}
	return ""
}
