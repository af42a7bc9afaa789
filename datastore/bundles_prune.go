package datastore

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc/codes"

	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// PruneBundle removes the authorities that expire at or before expiresBefore
// from a bundle, and tells whether there were any. A root CA of several
// certificates goes with the first that expires. A key that has no expiry counts
// as expired. If anything goes, the bundle has the next sequence number and no
// refresh hint.
//
// It is an error, and nothing changes, if no root CA would be left, or none of
// the JWT or WIT keys that there were.
func (d *DataStore) PruneBundle(ctx context.Context, trustDomainID string, expiresBefore time.Time) (bool, error) {
	var p *pruner // of the last attempt
	changed, err := update(ctx, d, func(tx store.Tx) (bool, error) {
		p = &pruner{limit: expiresBefore}
		old, ok, err := bundles.get(ctx, tx, trustDomainID)
		if err != nil {
			return false, during(codes.Unknown, "unable to fetch current bundle", err)
		}
		if !ok {
			return false, nil
		}
		pruned, err := p.prune(old.Object)
		if err != nil {
			return false, failure(codes.Unknown, "prune failed: %w", err)
		}
		if !p.changed {
			return false, nil
		}
		return true, during(codes.Unknown, "unable to write new bundle", bundles.update(tx, old, pruned))
	})
	if p != nil && (err == nil || p.halted) {
		for _, r := range p.logged {
			d.log.LogAttrs(ctx, r.level, r.message, r.attrs...)
		}
	}
	return changed, err
}

// pruner prunes a bundle.
type pruner struct {
	limit   time.Time
	changed bool // something has expired
	halted  bool // too much has
	logged  []logRecord
}

// logRecord is what to log once it is known that it happened.
type logRecord struct {
	level   slog.Level
	message string
	attrs   []slog.Attr
}

func (p *pruner) prune(b *spirev1.Bundle) (*spirev1.Bundle, error) {
	if p.limit.IsZero() {
		return nil, errors.New("expiration time is zero value")
	}
	pruned := records.CopyBundle(b)
	var err error
	if pruned.RootCas, err = p.rootCAs(pruned.RootCas); err != nil {
		return nil, err
	}
	pruned.JwtSigningKeys = p.keys(pruned.JwtSigningKeys, "Pruning JWT signing key due to expiration")
	pruned.WitSigningKeys = p.keys(pruned.WitSigningKeys, "Pruning WIT signing key due to expiration")

	switch {
	case len(pruned.RootCas) == 0:
		p.halt("Pruning halted; all known CA certificates have expired")
		return nil, errors.New("would prune all certificates")
	case len(b.JwtSigningKeys) > 0 && len(pruned.JwtSigningKeys) == 0:
		p.halt("Pruning halted; all known JWT signing keys have expired")
		return nil, errors.New("would prune all JWT signing keys")
	case len(b.WitSigningKeys) > 0 && len(pruned.WitSigningKeys) == 0:
		p.halt("Pruning halted; all known WIT signing keys have expired")
		return nil, errors.New("would prune all WIT signing keys")
	}
	pruned.RefreshHint = 0
	pruned.SequenceNumber++
	return pruned, nil
}

// rootCAs returns those that don't expire.
func (p *pruner) rootCAs(cas []*spirev1.Certificate) ([]*spirev1.Certificate, error) {
	var kept []*spirev1.Certificate
	for _, ca := range cas {
		certs, err := x509.ParseCertificates(ca.DerBytes)
		if err != nil {
			return nil, fmt.Errorf("cannot parse certificates: %w", err)
		}
		if expired := p.firstExpired(certs); expired != nil {
			p.drop("Pruning CA certificate due to expiration",
				slog.Any("serial_num", expired.SerialNumber), slog.Time("expiration", expired.NotAfter))
			continue
		}
		kept = append(kept, ca)
	}
	return kept, nil
}

func (p *pruner) firstExpired(certs []*x509.Certificate) *x509.Certificate {
	for _, cert := range certs {
		if !cert.NotAfter.After(p.limit) {
			return cert
		}
	}
	return nil
}

// keys returns those that don't expire.
func (p *pruner) keys(keys []*spirev1.PublicKey, message string) []*spirev1.PublicKey {
	var kept []*spirev1.PublicKey
	for _, key := range keys {
		if expiry := time.Unix(key.NotAfter, 0); !expiry.After(p.limit) {
			p.drop(message, slog.String("kid", key.Kid), slog.Time("expiration", expiry.UTC()))
			continue
		}
		kept = append(kept, key)
	}
	return kept
}

func (p *pruner) drop(message string, attrs ...slog.Attr) {
	p.changed = true
	p.logged = append(p.logged, logRecord{slog.LevelInfo, message, attrs})
}

func (p *pruner) halt(message string) {
	p.halted = true
	p.logged = append(p.logged, logRecord{slog.LevelWarn, message, nil})
}
