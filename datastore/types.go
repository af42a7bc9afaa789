package datastore

import (
	"net/url"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
)

// MatchBehavior says how a set is compared with that of a request. An empty set
// never matches.
type MatchBehavior int32

// The match behaviours.
const (
	Exact    MatchBehavior = 0 // the sets are equal
	Subset   MatchBehavior = 1 // all that the object has is in the request
	Superset MatchBehavior = 2 // the object has all that is in the request
	MatchAny MatchBehavior = 3 // the object has something that is in the request
)

// known tells whether m is one of the behaviours.
func (m MatchBehavior) known() bool { return m >= Exact && m <= MatchAny }

// DataConsistency says how fresh a read must be.
type DataConsistency int32

// The consistencies.
const (
	RequireCurrent DataConsistency = iota
	TolerateStale
)

// DeleteMode says what happens to the entries that federate with a bundle when
// it is deleted.
type DeleteMode int32

// The delete modes.
const (
	Restrict   DeleteMode = iota // the bundle stays if there are such entries
	Delete                       // they are deleted
	Dissociate                   // they stop to federate with it
)

// String returns RESTRICT, DELETE, DISSOCIATE or UNKNOWN.
func (m DeleteMode) String() string {
	switch m {
	case Restrict:
		return "RESTRICT"
	case Delete:
		return "DELETE"
	case Dissociate:
		return "DISSOCIATE"
	}
	return "UNKNOWN"
}

// BundleEndpointType is the profile of a bundle endpoint.
type BundleEndpointType string

// The profiles.
const (
	BundleEndpointSPIFFE BundleEndpointType = "https_spiffe"
	BundleEndpointWeb    BundleEndpointType = "https_web"
)

// JoinToken lets one agent in.
type JoinToken struct {
	Token  string
	Expiry time.Time
}

// CAJournal is the state of a server's authorities. Data is opaque, except when
// journals are pruned.
type CAJournal struct {
	ID                    uint // 0: not stored yet
	Data                  []byte
	ActiveX509AuthorityID string
}

// FederationRelationship says where another trust domain's bundle is fetched.
type FederationRelationship struct {
	TrustDomain           spiffeid.TrustDomain
	BundleEndpointURL     *url.URL
	BundleEndpointProfile BundleEndpointType
	TrustDomainBundle     *spirev1.Bundle

	// EndpointSPIFFEID is the endpoint's identity. It is for the profile
	// https_spiffe only.
	EndpointSPIFFEID spiffeid.ID
}

// RegistrationEntryEvent says that an entry was created, changed or deleted.
type RegistrationEntryEvent struct {
	EventID uint
	EntryID string
}

// AttestedNodeEvent says that a node or its selectors were created, changed or
// deleted.
type AttestedNodeEvent struct {
	EventID  uint
	SpiffeID string
}
