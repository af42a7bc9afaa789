package api

import (
	"encoding/json"

	"github.com/spire-raft/spire-raft/store"
)

// Value is what the demo stores under the key of an item.
type Value struct {
	// Write is the identity of the write that put this value. No two writes
	// share one.
	Write string `json:"write,omitempty"`

	// At is when the writer sent it, in nanoseconds of its clock since 1970.
	At int64 `json:"at,omitempty"`

	// Via is the server that the writer sent it to.
	Via string `json:"via,omitempty"`

	// N counts the increments of a counter.
	N uint64 `json:"n,omitempty"`

	Body json.RawMessage `json:"body,omitempty"`
}

// Index is an item's value in one field that it can be found by.
type Index struct {
	Field string `json:"field"`
	Value string `json:"value"`
}

// CreateRequest stores a new item with its indexes in one transaction.
type CreateRequest struct {
	Value   Value   `json:"value"`
	Indexes []Index `json:"indexes,omitempty"`
}

// Written is the answer to a write.
type Written struct {
	Revision store.Revision `json:"revision"`

	// N is the new count of a counter.
	N uint64 `json:"n,omitempty"`
}

// Item is an item as it was read.
type Item struct {
	Type  string `json:"type"`
	ID    string `json:"id"`
	Value Value  `json:"value"`

	ModRevision store.Revision `json:"mod_revision"`
}

// Items is the answer to a list.
type Items struct {
	Items    []Item         `json:"items"`
	Revision store.Revision `json:"revision"`
}

// Count is the answer to a count.
type Count struct {
	Count    int            `json:"count"`
	Revision store.Revision `json:"revision"`
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

// TokenRequest asks for a token that admits one server.
type TokenRequest struct {
	TTL string `json:"ttl"`
}

// Token is the answer to a TokenRequest.
type Token struct {
	Token string `json:"token"`
}
