package datastore

import (
	"context"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"

	recordsv1 "github.com/spire-raft/spire-raft/proto/records/v1"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// Relationships are kept by the name of the trust domain. Its bundle, if there
// is one, is among the bundles, under the id of the trust domain.
var relationships = collection[*recordsv1.FederationRelationship]{
	kind: records.FederationRelationships, unique: "federated_trust_domains.trust_domain",
	blank: func(id string, _ map[string]string) *recordsv1.FederationRelationship {
		return &recordsv1.FederationRelationship{TrustDomain: id}
	},
}

// CreateFederationRelationship stores a new relationship, and sets the bundle
// that comes with it, if any. It returns fr as it is. The error is AlreadyExists
// if the trust domain has one, and InvalidArgument if fr lacks something.
func (d *DataStore) CreateFederationRelationship(ctx context.Context, fr *FederationRelationship) (*FederationRelationship, error) {
	if err := checkRelationship(fr, allRelationshipFields()); err != nil {
		return nil, err
	}
	return update(ctx, d, func(tx store.Tx) (*FederationRelationship, error) {
		if err := setRelationshipBundle(ctx, tx, fr); err != nil {
			return nil, err
		}
		record := &recordsv1.FederationRelationship{TrustDomain: fr.TrustDomain.Name()}
		replaceRelationshipFields(record, fr, allRelationshipFields())
		if _, err := relationships.create(ctx, tx, record); err != nil {
			return nil, err
		}
		return copyRelationship(fr), nil
	})
}

// FetchFederationRelationship returns the relationship with a trust domain and
// its present bundle, or nil.
func (d *DataStore) FetchFederationRelationship(ctx context.Context, td spiffeid.TrustDomain) (*FederationRelationship, error) {
	if td.IsZero() {
		return nil, errNoTrustDomain()
	}
	return view(ctx, d, store.Linearizable(), func(tx store.Tx) (*FederationRelationship, error) {
		item, ok, err := relationships.get(ctx, tx, td.Name())
		if err != nil || !ok {
			return nil, err
		}
		return presentRelationship(ctx, tx, item.Object)
	})
}

// ListFederationRelationships returns the relationships in the order of their
// creation, with their present bundles. The list is not nil. With a
// [MalformedRecordsError] come all of the page but those that it names. A
// relationship whose bundle can't be decoded is one of these: without it, it would
// look like one that has none.
func (d *DataStore) ListFederationRelationships(ctx context.Context, req *ListFederationRelationshipsRequest) (*ListFederationRelationshipsResponse, error) {
	req = orEmpty(req)
	page, err := newPage(req.Pagination)
	if err != nil {
		return nil, err
	}
	return view(ctx, d, store.Linearizable(), func(tx store.Tx) (*ListFederationRelationshipsResponse, error) {
		var bad MalformedRecordsError
		found, last, err := listAs(ctx, tx, relationships, query{page: page}, &bad,
			func(item records.Item[*recordsv1.FederationRelationship]) (*FederationRelationship, error) {
				return listedRelationship(ctx, tx, item.Object)
			})
		if err != nil {
			return nil, err
		}
		return &ListFederationRelationshipsResponse{
			FederationRelationships: append([]*FederationRelationship{}, found...),
			Pagination:              nextPage(req.Pagination, last),
		}, bad.errOrNil()
	})
}

// DeleteFederationRelationship deletes the relationship with a trust domain. Its
// bundle stays. The error is NotFound if there is none.
func (d *DataStore) DeleteFederationRelationship(ctx context.Context, td spiffeid.TrustDomain) error {
	if td.IsZero() {
		return errNoTrustDomain()
	}
	_, err := updateWrecks(ctx, d, func(tx store.Tx, w wrecks) (struct{}, error) {
		old, err := relationships.mustFind(ctx, tx, td.Name(), w)
		if err != nil {
			return struct{}{}, err
		}
		return struct{}{}, old.delete(tx)
	})
	return err
}

// UpdateFederationRelationship replaces the fields of a relationship that mask
// names; a nil mask names all. The endpoint's SPIFFE ID belongs to the profile.
// A bundle is set if there is one and mask names it. It returns the relationship
// as it is then, with its present bundle. The error is NotFound if there is no
// relationship.
func (d *DataStore) UpdateFederationRelationship(ctx context.Context, fr *FederationRelationship, mask *spirev1.FederationRelationshipMask) (*FederationRelationship, error) {
	if mask == nil {
		mask = allRelationshipFields()
	}
	if err := checkRelationship(fr, mask); err != nil {
		return nil, err
	}
	return update(ctx, d, func(tx store.Tx) (*FederationRelationship, error) {
		old, ok, err := relationships.get(ctx, tx, fr.TrustDomain.Name())
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, failure(codes.NotFound, "unable to fetch federation relationship: record not found")
		}
		if mask.TrustDomainBundle {
			if err := setRelationshipBundle(ctx, tx, fr); err != nil {
				return nil, err
			}
		}
		record := &recordsv1.FederationRelationship{
			TrustDomain:           old.Object.TrustDomain,
			BundleEndpointUrl:     old.Object.BundleEndpointUrl,
			BundleEndpointProfile: old.Object.BundleEndpointProfile,
			EndpointSpiffeId:      old.Object.EndpointSpiffeId,
		}
		replaceRelationshipFields(record, fr, mask)
		if err := relationships.update(tx, old, record); err != nil {
			return nil, err
		}
		return presentRelationship(ctx, tx, record)
	})
}

// setRelationshipBundle sets the bundle of fr, if any, whatever its trust domain.
func setRelationshipBundle(ctx context.Context, tx store.Tx, fr *FederationRelationship) error {
	if fr.TrustDomainBundle == nil {
		return nil
	}
	_, err := setBundle(ctx, tx, fr.TrustDomainBundle)
	return during(codes.Unknown, "unable to set bundle", err)
}

// replaceRelationshipFields leaves an endpoint's SPIFFE ID that no longer
// counts, as SPIRE does.
func replaceRelationshipFields(to *recordsv1.FederationRelationship, fr *FederationRelationship, mask *spirev1.FederationRelationshipMask) {
	if mask.BundleEndpointUrl {
		to.BundleEndpointUrl = fr.BundleEndpointURL.String()
	}
	if mask.BundleEndpointProfile {
		to.BundleEndpointProfile = string(fr.BundleEndpointProfile)
		if fr.BundleEndpointProfile == BundleEndpointSPIFFE {
			to.EndpointSpiffeId = fr.EndpointSPIFFEID.String()
		}
	}
}
