package datastore

import (
	"context"

	"google.golang.org/grpc/codes"

	"github.com/spire-raft/spire-raft/cache"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

var bundles = collection[*spirev1.Bundle]{
	kind: records.Bundles, unique: "bundles.trust_domain",
	blank: func(id string, _ map[string]string) *spirev1.Bundle { return &spirev1.Bundle{TrustDomainId: id} },
}

// CreateBundle stores a new bundle as it is and returns it. The error is
// AlreadyExists if its trust domain has one.
func (d *DataStore) CreateBundle(ctx context.Context, b *spirev1.Bundle) (*spirev1.Bundle, error) {
	if b == nil {
		return nil, errNoBundle()
	}
	return update(ctx, d, func(tx store.Tx) (*spirev1.Bundle, error) {
		_, err := bundles.create(ctx, tx, b)
		return records.CopyBundle(b), err
	})
}

// FetchBundle returns the bundle of a trust domain, or nil.
func (d *DataStore) FetchBundle(ctx context.Context, trustDomainID string) (*spirev1.Bundle, error) {
	cached := func(v cache.View) (*spirev1.Bundle, bool) {
		b, err := v.Bundle(trustDomainID)
		return fetched(b, err, records.CopyBundle)
	}
	return cachedView(ctx, d, store.Linearizable(), pointWait, cached, func(tx store.Tx) (*spirev1.Bundle, error) {
		item, _, err := bundles.get(ctx, tx, trustDomainID)
		return item.Object, err
	})
}

// UpdateBundle replaces the fields of a bundle that mask names; a nil mask names
// all. It returns the bundle as it is then. The error is NotFound if there is
// none.
func (d *DataStore) UpdateBundle(ctx context.Context, b *spirev1.Bundle, mask *spirev1.BundleMask) (*spirev1.Bundle, error) {
	if b == nil {
		return nil, errNoBundle()
	}
	return update(ctx, d, func(tx store.Tx) (*spirev1.Bundle, error) {
		old, err := bundles.mustGet(ctx, tx, b.TrustDomainId)
		if err != nil {
			return nil, err
		}
		return replaceBundle(tx, old, b, mask)
	})
}

// SetBundle creates a bundle or replaces it, and returns it.
func (d *DataStore) SetBundle(ctx context.Context, b *spirev1.Bundle) (*spirev1.Bundle, error) {
	if b == nil {
		return nil, errNoBundle()
	}
	return update(ctx, d, func(tx store.Tx) (*spirev1.Bundle, error) { return setBundle(ctx, tx, b) })
}

// AppendBundle creates a bundle, or adds to it the authorities of b that it
// lacks. It returns the bundle as it is then.
func (d *DataStore) AppendBundle(ctx context.Context, b *spirev1.Bundle) (*spirev1.Bundle, error) {
	if b == nil {
		return nil, errNoBundle()
	}
	return update(ctx, d, func(tx store.Tx) (*spirev1.Bundle, error) {
		old, ok, err := bundles.get(ctx, tx, b.TrustDomainId)
		if err != nil {
			return nil, err
		}
		if !ok {
			_, err := bundles.create(ctx, tx, b)
			return records.CopyBundle(b), err
		}
		merged, changed := mergeBundle(old.Object, b)
		if !changed {
			return old.Object, nil
		}
		return merged, bundles.update(tx, old, merged)
	})
}

// ListBundles returns the bundles in the order of their creation. With a
// [MalformedRecordsError] come all of the page but those that it names.
func (d *DataStore) ListBundles(ctx context.Context, req *ListBundlesRequest) (*ListBundlesResponse, error) {
	req = orEmpty(req)
	page, err := newPage(req.Pagination)
	if err != nil {
		return nil, err
	}
	return view(ctx, d, store.Linearizable(), func(tx store.Tx) (*ListBundlesResponse, error) {
		var bad MalformedRecordsError
		items, last, err := bundles.list(ctx, tx, query{page: page}, &bad)
		if err != nil {
			return nil, err
		}
		return &ListBundlesResponse{Bundles: objects(items), Pagination: nextPage(req.Pagination, last)}, bad.errOrNil()
	})
}

// CountBundles returns how many bundles there are.
func (d *DataStore) CountBundles(ctx context.Context) (int32, error) {
	n, err := cachedView(ctx, d, store.Linearizable(), rangeWait, cachedSize(cache.KindBundle), func(tx store.Tx) (int, error) {
		return bundles.count(ctx, tx)
	})
	return int32(n), err
}

// setBundle is SetBundle in a transaction.
func setBundle(ctx context.Context, tx store.Tx, b *spirev1.Bundle) (*spirev1.Bundle, error) {
	old, ok, err := bundles.get(ctx, tx, b.TrustDomainId)
	if err != nil {
		return nil, err
	}
	if !ok {
		_, err := bundles.create(ctx, tx, b)
		return records.CopyBundle(b), err
	}
	return replaceBundle(tx, old, b, nil)
}

// replaceBundle puts the fields of b that mask names in the place of old's, and
// returns the result.
func replaceBundle(tx store.Tx, old records.Item[*spirev1.Bundle], b *spirev1.Bundle, mask *spirev1.BundleMask) (*spirev1.Bundle, error) {
	merged, given := records.CopyBundle(old.Object), records.CopyBundle(b)
	if mask == nil || mask.RootCas {
		merged.RootCas = given.RootCas
	}
	if mask == nil || mask.JwtSigningKeys {
		merged.JwtSigningKeys = given.JwtSigningKeys
	}
	if mask == nil || mask.WitSigningKeys {
		merged.WitSigningKeys = given.WitSigningKeys
	}
	if mask == nil || mask.RefreshHint {
		merged.RefreshHint = given.RefreshHint
	}
	if mask == nil || mask.SequenceNumber {
		merged.SequenceNumber = given.SequenceNumber
	}
	return merged, bundles.update(tx, old, merged)
}

// mergeBundle returns old with the authorities of b that it lacks and the next
// sequence number, and whether there are any.
func mergeBundle(old, b *spirev1.Bundle) (*spirev1.Bundle, bool) {
	merged, given := records.CopyBundle(old), records.CopyBundle(b)
	var roots, jwts, wits bool
	merged.RootCas, roots = appendMissing(merged.RootCas, given.RootCas, ofCertificate)
	merged.JwtSigningKeys, jwts = appendMissing(merged.JwtSigningKeys, given.JwtSigningKeys, ofPublicKey)
	merged.WitSigningKeys, wits = appendMissing(merged.WitSigningKeys, given.WitSigningKeys, ofPublicKey)
	if !roots && !jwts && !wits {
		return old, false
	}
	merged.SequenceNumber++
	return merged, true
}

// appendMissing appends to stored what it lacks of given, and tells whether that
// was anything. What given has twice is appended twice.
func appendMissing[T any, K comparable](stored, given []T, key func(T) K) ([]T, bool) {
	has := make(map[K]bool, len(stored))
	for _, element := range stored {
		has[key(element)] = true
	}
	n := len(stored)
	for _, element := range given {
		if !has[key(element)] {
			stored = append(stored, element)
		}
	}
	return stored, len(stored) > n
}

// Authorities are the same if all their fields are, known or not.

type certificateFields struct {
	der     string
	tainted bool
	unknown string
}

func ofCertificate(c *spirev1.Certificate) certificateFields {
	if c == nil {
		return certificateFields{} // as protobuf stores it
	}
	return certificateFields{string(c.DerBytes), c.TaintedKey, string(records.UnknownFields(c))}
}

type publicKeyFields struct {
	pkix, kid string
	notAfter  int64
	tainted   bool
	unknown   string
}

func ofPublicKey(k *spirev1.PublicKey) publicKeyFields {
	if k == nil {
		return publicKeyFields{}
	}
	return publicKeyFields{string(k.PkixBytes), k.Kid, k.NotAfter, k.TaintedKey, string(records.UnknownFields(k))}
}

func errNoBundle() error {
	return failure(codes.Unknown, storagePrefix+"missing bundle in request")
}
