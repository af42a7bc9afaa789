package datastore

import (
	"context"
	"errors"
	"fmt"
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

// presentRelationship returns what a record says, with the trust domain's present
// bundle. The error is one for callers.
func presentRelationship(ctx context.Context, tx store.Tx, r *recordsv1.FederationRelationship) (*FederationRelationship, error) {
	fr, err := parseRelationship(r)
	if err != nil {
		return nil, failure(codes.Unknown, "%w", err)
	}
	if err := fetchRelationshipBundle(ctx, tx, fr); err != nil {
		return nil, during(codes.Unknown, "unable to fetch bundle", err)
	}
	return fr, nil
}

// listedRelationship is [presentRelationship] for a list. The error is a
// [records.MalformedError] unless the bundle could not be read.
func listedRelationship(ctx context.Context, tx store.Tx, r *recordsv1.FederationRelationship) (*FederationRelationship, error) {
	fr, err := parseRelationship(r)
	if err != nil {
		return nil, relationships.kind.Malformed(r.TrustDomain, err)
	}
	err = fetchRelationshipBundle(ctx, tx, fr)
	if errors.Is(err, records.ErrMalformed) {
		err = relationships.kind.Malformed(r.TrustDomain, fmt.Errorf("unable to fetch bundle: %w", err))
	}
	return fr, err
}

// parseRelationship returns what a record says. The error says what is wrong
// with it.
func parseRelationship(r *recordsv1.FederationRelationship) (*FederationRelationship, error) {
	endpoint, err := url.Parse(r.BundleEndpointUrl)
	if err != nil {
		return nil, fmt.Errorf("unable to parse URL: %w", err)
	}
	td, err := spiffeid.TrustDomainFromString(r.TrustDomain)
	if err != nil {
		return nil, fmt.Errorf(storagePrefix+"%w", err)
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
			return nil, fmt.Errorf("unable to parse bundle endpoint SPIFFE ID: %w", err)
		}
	default:
		return nil, fmt.Errorf("unknown bundle endpoint profile type: %q", r.BundleEndpointProfile)
	}
	return fr, nil
}

// fetchRelationshipBundle gives fr the present bundle of its trust domain.
func fetchRelationshipBundle(ctx context.Context, tx store.Tx, fr *FederationRelationship) error {
	bundle, _, err := bundles.get(ctx, tx, fr.TrustDomain.IDString())
	fr.TrustDomainBundle = bundle.Object
	return err
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
