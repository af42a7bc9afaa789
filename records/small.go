package records

import (
	"google.golang.org/protobuf/proto"

	recordsv1 "github.com/spire-raft/spire-raft/proto/records/v1"
)

// JoinTokens are found by [FieldExpiry]. Their ids are secrets.
var JoinTokens = &Kind[*recordsv1.JoinToken]{
	typ:     "join-token",
	secret:  true,
	id:      func(t *recordsv1.JoinToken) string { return t.Token },
	message: func(t *recordsv1.JoinToken) proto.Message { return copyJoinToken(t) },
	decode: func(_ string, message []byte) (*recordsv1.JoinToken, error) {
		m, err := unmarshal[recordsv1.JoinToken](message)
		if err != nil {
			return nil, err
		}
		return copyJoinToken(m), nil
	},
	index: func(t *recordsv1.JoinToken, x *indexer) { x.add(FieldExpiry, OrderedInt64(t.Expiry)) },
}

func copyJoinToken(t *recordsv1.JoinToken) *recordsv1.JoinToken {
	return &recordsv1.JoinToken{Token: t.Token, Expiry: t.Expiry}
}

// FederationRelationships have the name of the trust domain as their id.
var FederationRelationships = &Kind[*recordsv1.FederationRelationship]{
	typ:     "federation-relationship",
	id:      func(r *recordsv1.FederationRelationship) string { return r.TrustDomain },
	message: func(r *recordsv1.FederationRelationship) proto.Message { return copyRelationship(r) },
	decode: func(_ string, message []byte) (*recordsv1.FederationRelationship, error) {
		m, err := unmarshal[recordsv1.FederationRelationship](message)
		if err != nil {
			return nil, err
		}
		return copyRelationship(m), nil
	},
}

func copyRelationship(r *recordsv1.FederationRelationship) *recordsv1.FederationRelationship {
	return &recordsv1.FederationRelationship{
		TrustDomain:           r.TrustDomain,
		BundleEndpointUrl:     r.BundleEndpointUrl,
		BundleEndpointProfile: r.BundleEndpointProfile,
		EndpointSpiffeId:      r.EndpointSpiffeId,
	}
}

// CAJournals are known to others by their number, under which [FieldOrder] finds
// them. They are found too by [FieldAuthority], which may be empty and need not
// be unique.
var CAJournals = &Kind[*recordsv1.CAJournal]{
	typ:     "ca-journal",
	id:      func(j *recordsv1.CAJournal) string { return j.Key },
	message: func(j *recordsv1.CAJournal) proto.Message { return copyJournal(j) },
	decode: func(_ string, message []byte) (*recordsv1.CAJournal, error) {
		m, err := unmarshal[recordsv1.CAJournal](message)
		if err != nil {
			return nil, err
		}
		return copyJournal(m), nil
	},
	index: func(j *recordsv1.CAJournal, x *indexer) { x.add(FieldAuthority, j.ActiveX509AuthorityId) },
}

func copyJournal(j *recordsv1.CAJournal) *recordsv1.CAJournal {
	return &recordsv1.CAJournal{
		Key:                   j.Key,
		Data:                  copyBytes(j.Data),
		ActiveX509AuthorityId: j.ActiveX509AuthorityId,
	}
}
