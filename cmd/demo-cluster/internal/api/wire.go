package api

import (
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/store"
)

// EntryRequest creates a registration entry.
type EntryRequest struct {
	Entry *spirev1.RegistrationEntry `json:"entry"`
}

// EntryUpdate changes a registration entry.
type EntryUpdate struct {
	Hint string `json:"hint"`
}

// BundleRequest creates a bundle.
type BundleRequest struct {
	Bundle *spirev1.Bundle `json:"bundle"`
}

// AgentRequest creates an attested node.
type AgentRequest struct {
	Agent *spirev1.AttestedNode `json:"agent"`
}

// SelectorsRequest replaces the selectors of an agent.
type SelectorsRequest struct {
	Agent     string              `json:"agent"`
	Selectors []*spirev1.Selector `json:"selectors"`
}

// Written is the answer to a write.
type Written struct {
	// Revision is that of the transaction or, where nothing changed, of what it
	// read.
	Revision store.Revision `json:"revision"`

	// Existing tells that nothing was created, since Entry was there and is
	// similar.
	Existing bool `json:"existing,omitempty"`

	// Entry is the entry as it is now, or was before it was deleted.
	Entry *spirev1.RegistrationEntry `json:"entry,omitempty"`
}

// EntryFilter says which entries to list: those that have what is not empty.
type EntryFilter struct {
	SpiffeID, ParentID, Hint string

	// Limit is how many to list at most. Zero is the server's limit.
	Limit int
}

// Entries is the answer to a list, in the order of creation.
type Entries struct {
	Entries []*spirev1.RegistrationEntry `json:"entries"`
}

// Count is the answer to a count.
type Count struct {
	Count int `json:"count"`
}

// Authorized is what an agent is told: for which entries it may have identities.
// As in SPIRE these are no entries, only what tells whether an entry changed.
type Authorized struct {
	Entries []AuthorizedEntry `json:"entries"`

	// Revision is that of the store as the server knew it.
	Revision store.Revision `json:"revision"`
}

// AuthorizedEntry is one version of an entry.
type AuthorizedEntry struct {
	ID        string `json:"id"`
	Revision  int64  `json:"revision"`
	CreatedAt int64  `json:"created_at"`
}

// Cursor is [store.Cursor] on the wire.
type Cursor struct {
	Epoch    store.Epoch    `json:"epoch"`
	Revision store.Revision `json:"revision"`
}

// Batch is one line of a watch. One without events is a progress mark.
type Batch struct {
	Cursor Cursor  `json:"cursor"`
	Events []Event `json:"events,omitempty"`

	StreamEnd
}

// StreamEnd is the last line of a stream that the server ends.
type StreamEnd struct {
	// Failure says why. It is nil on every other line.
	Failure *Error `json:"failure,omitempty"`
}

// Event is the change of one key. It has either Key and Value or, where the
// watch asks for words, Name and Text.
type Event struct {
	Kind  string `json:"kind"`
	Key   []byte `json:"key,omitempty"`
	Value []byte `json:"value,omitempty"`

	Name string `json:"name,omitempty"`
	Text string `json:"text,omitempty"`
}

// Page is one line of a dump: pairs in key order, all lines from one snapshot.
// The last line has no pairs.
type Page struct {
	Cursor Cursor `json:"cursor"`
	Pairs  []Pair `json:"pairs,omitempty"`

	StreamEnd
}

// Pair is a key, its value and the revision that put it.
type Pair struct {
	Key         []byte         `json:"key"`
	Value       []byte         `json:"value"`
	ModRevision store.Revision `json:"mod_revision"`
}

// Token admits one server. It is a secret.
type Token struct {
	Token string `json:"token"`
}
