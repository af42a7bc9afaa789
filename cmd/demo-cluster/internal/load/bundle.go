package load

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"time"

	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
)

// newBundle returns a bundle for a trust domain, with an authority whose key is
// thrown away: nobody in the demo signs anything.
func newBundle(trustDomainID string) (*spirev1.Bundle, error) {
	uri, err := url.Parse(trustDomainID)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "demo authority"},
		NotBefore:             time.Now(),
		NotAfter:              time.Now().Add(agentLifetime),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
		URIs:                  []*url.URL{uri},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &spirev1.Bundle{TrustDomainId: trustDomainID, RootCas: []*spirev1.Certificate{{DerBytes: der}}, SequenceNumber: 1}, nil
}
