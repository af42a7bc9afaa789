package datastore

import (
	"context"
	"net/url"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"

	recordsv1 "github.com/spire-raft/spire-raft/proto/records/v1"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// checkRelationship refuses a relationship that lacks something that mask names.
func checkRelationship(fr *FederationRelationship, mask *spirev1.FederationRelationshipMask) error {
	invalid := func(text string) error { return failure(codes.InvalidArgument, "%s", text) }
	switch {
	case fr == nil:
		return invalid("federation relationship is nil")
	case fr.TrustDomain.IsZero():
		return errNoTrustDomain()
	case mask.BundleEndpointUrl && fr.BundleEndpointURL == nil:
		return invalid("bundle endpoint URL is required")
	case !mask.BundleEndpointProfile:
		return nil
	}
	switch fr.BundleEndpointProfile {
	case BundleEndpointWeb:
	case BundleEndpointSPIFFE:
		if fr.EndpointSPIFFEID.IsZero() {
			return invalid("bundle endpoint SPIFFE ID is required")
		}
	default:
		return failure(codes.InvalidArgument, "unknown bundle endpoint profile type: %q", fr.BundleEndpointProfile)
	}
	return nil
}

// readRelationship returns what a record says, with the trust domain's present
// bundle. The error says what is wrong with the record.
func readRelationship(ctx context.Context, tx store.Tx, r *recordsv1.FederationRelationship) (*FederationRelationship, error) {
	endpoint, err := url.Parse(r.BundleEndpointUrl)
	if err != nil {
		return nil, failure(codes.Unknown, "unable to parse URL: %w", err)
	}
	td, err := spiffeid.TrustDomainFromString(r.TrustDomain)
	if err != nil {
		return nil, failure(codes.Unknown, storagePrefix+"%w", err)
	}
	fr := &FederationRelationship{
		TrustDomain:           td,
		BundleEndpointURL:     endpoint,
		BundleEndpointProfile: BundleEndpointType(r.BundleEndpointProfile),
	}
	switch fr.BundleEndpointProfile {
	case BundleEndpointWeb:
	case BundleEndpointSPIFFE:
		if fr.EndpointSPIFFEID, err = spiffeid.FromString(r.EndpointSpiffeId); err != nil {
			return nil, failure(codes.Unknown, "unable to parse bundle endpoint SPIFFE ID: %w", err)
		}
	default:
		return nil, failure(codes.Unknown, "unknown bundle endpoint profile type: %q", r.BundleEndpointProfile)
	}
	bundle, _, err := bundles.get(ctx, tx, td.IDString())
	if err != nil {
		return nil, during(codes.Unknown, "unable to fetch bundle", err)
	}
	fr.TrustDomainBundle = bundle.Object
	return fr, nil
}

// copyRelationship returns a copy of fr.
func copyRelationship(fr *FederationRelationship) *FederationRelationship {
	c := *fr
	endpoint := *fr.BundleEndpointURL
	c.BundleEndpointURL = &endpoint
	c.TrustDomainBundle = records.CopyBundle(fr.TrustDomainBundle)
	return &c
}

func allRelationshipFields() *spirev1.FederationRelationshipMask {
	return &spirev1.FederationRelationshipMask{
		BundleEndpointUrl: true, BundleEndpointProfile: true, TrustDomainBundle: true,
	}
}

func errNoTrustDomain() error {
	return failure(codes.InvalidArgument, "trust domain is required")
}
