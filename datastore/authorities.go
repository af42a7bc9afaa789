package datastore

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"

	"google.golang.org/grpc/codes"

	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// The four methods below raise the bundle's sequence number by 1. Their error is
// NotFound if there is no bundle, or no such authority in it, and then nothing
// has changed.

// TaintX509CA marks the root CAs with the subject key id, given in lower-case
// hex, as tainted. Every root CA of the bundle must be one certificate that can
// be parsed.
func (d *DataStore) TaintX509CA(ctx context.Context, trustDomainID, subjectKeyID string) error {
	_, err := changeBundle(ctx, d, trustDomainID, func(b *spirev1.Bundle) (struct{}, error) {
		return struct{}{}, taintRootCA(b, subjectKeyID)
	})
	return err
}

// RevokeX509CA removes the root CAs with the subject key id, which must be
// tainted. The last one may go too. Every root CA of the bundle must be one
// certificate that can be parsed.
func (d *DataStore) RevokeX509CA(ctx context.Context, trustDomainID, subjectKeyID string) error {
	_, err := changeBundle(ctx, d, trustDomainID, func(b *spirev1.Bundle) (struct{}, error) {
		return struct{}{}, revokeRootCA(b, subjectKeyID)
	})
	return err
}

// TaintJWTKey marks the JWT key with the id as tainted, and returns it.
func (d *DataStore) TaintJWTKey(ctx context.Context, trustDomainID, authorityID string) (*spirev1.PublicKey, error) {
	return changeBundle(ctx, d, trustDomainID, func(b *spirev1.Bundle) (*spirev1.PublicKey, error) {
		return taintJWTKey(b, authorityID)
	})
}

// RevokeJWTKey removes the JWT key with the id, which must be tainted, and
// returns it. The last one may go too.
func (d *DataStore) RevokeJWTKey(ctx context.Context, trustDomainID, authorityID string) (*spirev1.PublicKey, error) {
	return changeBundle(ctx, d, trustDomainID, func(b *spirev1.Bundle) (*spirev1.PublicKey, error) {
		return revokeJWTKey(b, authorityID)
	})
}

// changeBundle stores a bundle as fn, which is given a copy, changes it, with the
// next sequence number, and returns what fn returned.
func changeBundle[R any](ctx context.Context, d *DataStore, trustDomainID string, fn func(*spirev1.Bundle) (R, error)) (R, error) {
	return update(ctx, d, func(tx store.Tx) (R, error) {
		var none R
		old, err := bundles.mustGet(ctx, tx, trustDomainID)
		if errors.Is(err, records.ErrMalformed) {
			err = during(codes.Internal, "failed to unmarshal bundle", err)
		}
		if err != nil {
			return none, err
		}
		changed := records.CopyBundle(old.Object)
		result, err := fn(changed)
		if err != nil {
			return none, err
		}
		changed.SequenceNumber++
		if err := bundles.update(tx, old, changed); err != nil {
			return none, during(codes.Internal, "failed to update bundle", err)
		}
		return result, nil
	})
}

func taintRootCA(b *spirev1.Bundle, subjectKeyID string) error {
	found := false
	for _, ca := range b.RootCas {
		cert, err := x509.ParseCertificate(ca.DerBytes)
		switch {
		case err != nil:
			return failure(codes.Internal, "failed to parse rootCA: %v", err)
		case hex.EncodeToString(cert.SubjectKeyId) != subjectKeyID:
			continue
		case ca.TaintedKey:
			return failure(codes.InvalidArgument, "root CA is already tainted")
		}
		ca.TaintedKey, found = true, true
	}
	if !found {
		return failure(codes.NotFound, "no ca found with provided subject key ID")
	}
	return nil
}

func revokeRootCA(b *spirev1.Bundle, subjectKeyID string) error {
	var kept []*spirev1.Certificate
	for _, ca := range b.RootCas {
		cert, err := x509.ParseCertificate(ca.DerBytes)
		switch {
		case err != nil:
			return failure(codes.Internal, "failed to parse root CA: %v", err)
		case hex.EncodeToString(cert.SubjectKeyId) != subjectKeyID:
			kept = append(kept, ca)
		case !ca.TaintedKey:
			return failure(codes.InvalidArgument, "it is not possible to revoke an untainted root CA")
		}
	}
	if len(kept) == len(b.RootCas) {
		return failure(codes.NotFound, "no root CA found with provided subject key ID")
	}
	b.RootCas = kept
	return nil
}

func taintJWTKey(b *spirev1.Bundle, authorityID string) (*spirev1.PublicKey, error) {
	var found *spirev1.PublicKey
	for _, key := range b.JwtSigningKeys {
		switch {
		case key.Kid != authorityID:
			continue
		case key.TaintedKey:
			return nil, failure(codes.InvalidArgument, "key is already tainted")
		case found != nil:
			return nil, failure(codes.Internal, "another JWT Key found with the same KeyID")
		}
		key.TaintedKey, found = true, key
	}
	if found == nil {
		return nil, errNoJWTKey()
	}
	return found, nil
}

func revokeJWTKey(b *spirev1.Bundle, authorityID string) (*spirev1.PublicKey, error) {
	var found *spirev1.PublicKey
	var kept []*spirev1.PublicKey
	for _, key := range b.JwtSigningKeys {
		switch {
		case key.Kid != authorityID:
			kept = append(kept, key)
			continue
		case found != nil:
			return nil, failure(codes.Internal, "another key found with the same KeyID")
		case !key.TaintedKey:
			return nil, failure(codes.InvalidArgument, "it is not possible to revoke an untainted key")
		}
		found = key
	}
	if found == nil {
		return nil, errNoJWTKey()
	}
	b.JwtSigningKeys = kept
	return found, nil
}

func errNoJWTKey() error {
	return failure(codes.NotFound, "no JWT Key found with provided key ID")
}
