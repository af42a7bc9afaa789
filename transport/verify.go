package transport

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// verify checks that chain, leaf first, leads to the roots for the usage and
// names a node in the cluster of cfg, which also tells whether its time may be
// over for a stream of this kind. It is the only way to a PeerInfo.
func verify(chain []*x509.Certificate, roots *x509.CertPool, usage x509.ExtKeyUsage, cfg Config, kind Kind) (PeerInfo, error) {
	if len(chain) == 0 {
		return PeerInfo{}, fmt.Errorf("%w: there is no certificate", ErrUntrusted)
	}
	if len(chain) > chainMax {
		return PeerInfo{}, fmt.Errorf("%w: it comes in a chain of %d, the limit is %d", ErrUntrusted, len(chain), chainMax)
	}
	if roots == nil { // Verify would take the system's
		return PeerInfo{}, fmt.Errorf("%w: there are no roots to check it with", ErrUntrusted)
	}
	leaf, now := chain[0], time.Now()
	expired := now.After(leaf.NotAfter) && slices.Contains(cfg.TakeExpired, kind)
	if expired {
		now = leaf.NotAfter
	}
	if err := checkLeaf(leaf); err != nil {
		return PeerInfo{}, err
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: poolOf(chain[1:]),
		KeyUsages:     []x509.ExtKeyUsage{usage},
		CurrentTime:   now,
	})
	var invalid x509.CertificateInvalidError
	switch {
	case err == nil:
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return PeerInfo{}, fmt.Errorf("%w: it is valid from %s to %s; renew it, or set the clock right: %w", ErrExpired,
			leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339), err)
	default:
		return PeerInfo{}, fmt.Errorf("%w: %w", ErrUntrusted, err)
	}

	if err := checkChains(chains); err != nil {
		return PeerInfo{}, err
	}
	id, err := ParseIdentity(leaf)
	if err != nil {
		return PeerInfo{}, err
	}
	if own := cfg.Identity; id.TrustDomain != own.TrustDomain || id.Cluster != own.Cluster {
		return PeerInfo{}, fmt.Errorf("%w: it is of %s, this node is %s", ErrOtherCluster, id, own)
	}
	root := chains[0][len(chains[0])-1]
	return PeerInfo{
		Identity:  id,
		Key:       sha256.Sum256(leaf.RawSubjectPublicKeyInfo),
		Authority: sha256.Sum256(root.RawSubjectPublicKeyInfo),
		Expired:   expired,
	}, nil
}

func poolOf(certs []*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, cert := range certs {
		pool.AddCert(cert)
	}
	return pool
}

// rootOf is the root that vouches for a chain, leaf first, whether or not their
// time is over. Most outlive what they have issued, but not all, and none have to
// be older.
func rootOf(chain []*x509.Certificate, roots *x509.CertPool) (*x509.Certificate, error) {
	leaf := chain[0]
	options := x509.VerifyOptions{Roots: roots, Intermediates: poolOf(chain[1:]), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	var err error
	for _, at := range []time.Time{leaf.NotAfter, leaf.NotBefore} {
		options.CurrentTime = at
		var verified [][]*x509.Certificate
		if verified, err = leaf.Verify(options); err == nil {
			return verified[0][len(verified[0])-1], nil
		}
	}
	return nil, fmt.Errorf("%w: %w", ErrUntrusted, err)
}
