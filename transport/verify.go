package transport

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// verify checks that chain, leaf first, leads to the roots for the usage and
// names a node in the cluster of own. It is the only way to an identity.
func verify(chain []*x509.Certificate, roots *x509.CertPool, usage x509.ExtKeyUsage, own Identity) (Identity, error) {
	if len(chain) == 0 {
		return Identity{}, fmt.Errorf("%w: there is no certificate", ErrUntrusted)
	}
	if roots == nil { // Verify would take the system's
		return Identity{}, fmt.Errorf("%w: there are no roots to check it with", ErrUntrusted)
	}
	intermediates := x509.NewCertPool()
	for _, cert := range chain[1:] {
		intermediates.AddCert(cert)
	}
	leaf := chain[0]
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: intermediates,
		KeyUsages:     []x509.ExtKeyUsage{usage},
	})
	var invalid x509.CertificateInvalidError
	switch {
	case err == nil:
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return Identity{}, fmt.Errorf("%w: it is valid from %s to %s; renew it, or set the clock right: %w", ErrExpired,
			leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339), err)
	default:
		return Identity{}, fmt.Errorf("%w: %w", ErrUntrusted, err)
	}

	id, err := ParseIdentity(leaf)
	if err != nil {
		return Identity{}, err
	}
	if id.TrustDomain != own.TrustDomain || id.Cluster != own.Cluster {
		return Identity{}, fmt.Errorf("%w: it is of %s, this node is %s", ErrOtherCluster, id, own)
	}
	return id, nil
}
