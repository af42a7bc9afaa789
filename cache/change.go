package cache

import (
	"bytes"
	"crypto/sha256"
	"errors"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spire-raft/spire-raft/keys"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
)

// Kind is a kind of object that the cache holds.
type Kind uint8

// The kinds. Selectors are those of a node, which need not exist.
const (
	KindBundle Kind = iota
	KindEntry
	KindNode
	KindSelectors

	kinds = iota
)

// String names the kind, for logs and metrics.
func (k Kind) String() string { return [kinds]string{"bundle", "entry", "node", "selectors"}[k] }

// prefixes are what the keys of each kind begin with.
var prefixes = [kinds][]byte{
	KindBundle:    records.Bundles.Prefix(),
	KindEntry:     records.Entries.Prefix(),
	KindNode:      records.Nodes.Prefix(),
	KindSelectors: records.NodeSelectorSets.Prefix(),
}

// kindOf returns the kind of the item with the given key.
func kindOf(key []byte) (Kind, bool) {
	for k, p := range prefixes {
		if bytes.HasPrefix(key, p) {
			return Kind(k), true
		}
	}
	return 0, false
}

// change is a new value of one key, decoded. Decoding knows nothing of the state,
// so changes can be decoded side by side.
type change struct {
	kind   Kind
	key    []byte
	id     string // empty where the key doesn't parse
	hash   uint64 // of id
	number uint64

	// One of these, or none for a delete.
	bundle    *spirev1.Bundle
	entry     entry
	node      *spirev1.AttestedNode
	selectors *records.NodeSelectors
	set       []selectorRef // of selectors
	malformed *malformed
}

// malformed is a record that doesn't decode.
type malformed struct {
	err  error // a records.MalformedError
	hash Hash  // of the value
}

// Hash identifies a value. The zero Hash stands for no value.
type Hash [sha256.Size]byte

// role is what an entry is for an agent.
type role uint8

const (
	roleNone  role = iota // of another trust domain, or an id isn't a SPIFFE ID
	roleChild             // given to its parent
	roleAlias             // names a group of nodes
)

// roles tells the role of entries in a trust domain.
type roles struct {
	trustDomain spiffeid.TrustDomain
	server      string // the parent of aliases
}

func newRoles(td spiffeid.TrustDomain) roles {
	return roles{trustDomain: td, server: td.IDString() + "/spire/server"}
}

func (r roles) of(e *spirev1.RegistrationEntry) role {
	if !r.member(e.SpiffeId) || !r.member(e.ParentId) {
		return roleNone
	}
	if e.ParentId == r.server {
		return roleAlias
	}
	return roleChild
}

func (r roles) member(id string) bool {
	parsed, err := spiffeid.FromString(id)
	return err == nil && parsed.MemberOf(r.trustDomain)
}

// decode reads a put of the item with the given key. It keeps key.
func (r roles) decode(kind Kind, key, value []byte) change {
	c := change{kind: kind, key: key}
	var err error
	switch kind {
	case KindBundle:
		var item records.Item[*spirev1.Bundle]
		item, err = records.Bundles.DecodePair(key, value)
		c.number, c.bundle = item.Number, item.Object
	case KindEntry:
		var item records.Item[*spirev1.RegistrationEntry]
		if item, err = records.Entries.DecodePair(key, value); err == nil {
			m := item.Object
			c.entry = entry{message: m, number: item.Number, spiffeHash: hashString(m.SpiffeId), role: r.of(m)}
		}
	case KindNode:
		var item records.Item[*spirev1.AttestedNode]
		item, err = records.Nodes.DecodePair(key, value)
		c.number, c.node = item.Number, item.Object
	case KindSelectors:
		var item records.Item[*records.NodeSelectors]
		if item, err = records.NodeSelectorSets.DecodePair(key, value); err == nil {
			c.number, c.selectors, c.set = item.Number, item.Object, selectorSet(item.Object.Selectors)
		}
	}
	if err != nil {
		c.malformed = &malformed{err: err, hash: sha256.Sum256(value)}
	}
	c.identify()
	return c
}

// decodeDelete is decode for a delete.
func decodeDelete(kind Kind, key []byte) change {
	c := change{kind: kind, key: key}
	c.identify()
	return c
}

// identify sets the id, from the object where there is one, to share memory.
func (c *change) identify() {
	switch {
	case c.malformed != nil:
	case c.bundle != nil:
		c.id = c.bundle.TrustDomainId
	case c.entry.message != nil:
		c.id = c.entry.message.EntryId
	case c.node != nil:
		c.id = c.node.SpiffeId
	case c.selectors != nil:
		c.id = c.selectors.SpiffeID
	}
	if c.id == "" {
		// An object with an empty id gets the same from its key.
		if item, err := keys.ParseItem(c.key); err == nil {
			c.id = string(item.ID)
		}
	}
	c.hash = hashString(c.id)
}

// absent tells whether c is a delete.
func (c *change) absent() bool {
	return c.bundle == nil && c.entry.message == nil && c.node == nil && c.selectors == nil && c.malformed == nil
}

// same tells whether c and o hold one and the same object.
func (c *change) same(o *change) bool {
	return c.bundle == o.bundle && c.entry.message == o.entry.message && c.node == o.node &&
		c.selectors == o.selectors && c.malformed == o.malformed
}

// encode returns the value that the object has in a store.
func (c *change) encode() ([]byte, error) {
	switch {
	case c.bundle != nil:
		return records.Bundles.Encode(records.Item[*spirev1.Bundle]{Number: c.number, Object: c.bundle})
	case c.entry.message != nil:
		return records.Entries.Encode(records.Item[*spirev1.RegistrationEntry]{Number: c.entry.number, Object: c.entry.message})
	case c.node != nil:
		return records.Nodes.Encode(records.Item[*spirev1.AttestedNode]{Number: c.number, Object: c.node})
	case c.selectors != nil:
		return records.NodeSelectorSets.Encode(records.Item[*records.NodeSelectors]{Number: c.number, Object: c.selectors})
	default:
		return nil, errors.New("no object")
	}
}
