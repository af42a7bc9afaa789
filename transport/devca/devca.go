package devca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/spire-raft/spire-raft/transport"
)

// skew is how far back certificates are valid, for clocks that differ.
const skew = time.Minute

// CA is a certificate authority. Its methods may be called concurrently.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// New makes an authority whose own certificate is valid from now for the given
// time.
func New(lifetime time.Duration) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "spire-raft throw-away CA"},
		NotBefore:             time.Now().Add(-skew),
		NotAfter:              time.Now().Add(lifetime),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &CA{cert: cert, key: key}, nil
}

// Template returns the certificate that Issue makes for id, for tests to spoil
// before they give it to Sign.
func Template(id transport.Identity, lifetime time.Duration) *x509.Certificate {
	return &x509.Certificate{
		Subject:     pkix.Name{CommonName: id.Node},
		NotBefore:   time.Now().Add(-skew),
		NotAfter:    time.Now().Add(lifetime),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		URIs:        []*url.URL{{Scheme: "spiffe", Host: id.TrustDomain, Path: "/spire/raft/" + id.Cluster + "/" + id.Node}},
	}
}

// Issue returns the credentials of a node, valid from now for the given time.
func (ca *CA) Issue(id transport.Identity, lifetime time.Duration) (*transport.Bundle, error) {
	if err := id.Validate(); err != nil {
		return nil, err
	}
	return ca.Sign(Template(id, lifetime))
}

// Sign makes a key and a certificate as template has it.
func (ca *CA) Sign(template *x509.Certificate) (*transport.Bundle, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return nil, err
	}
	return &transport.Bundle{
		Certificate: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		Roots:       ca.Roots(),
	}, nil
}

// Roots is the pool that holds this authority.
func (ca *CA) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// The names of the files that WriteFiles writes.
const (
	CertificateFile = "node.crt"
	KeyFile         = "node.key"
	RootsFile       = "roots.crt"
)

// WriteFiles issues credentials and puts them into a directory, which it
// creates where it is missing. Files that are there are replaced, each at once.
func (ca *CA) WriteFiles(dir string, id transport.Identity, lifetime time.Duration) (*transport.Files, error) {
	bundle, err := ca.Issue(id, lifetime)
	if err != nil {
		return nil, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(bundle.Certificate.PrivateKey)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	for _, f := range []struct {
		name, kind string
		der        []byte
	}{
		{RootsFile, "CERTIFICATE", ca.cert.Raw},
		{KeyFile, "PRIVATE KEY", key},
		{CertificateFile, "CERTIFICATE", bundle.Certificate.Certificate[0]},
	} {
		content := pem.EncodeToMemory(&pem.Block{Type: f.kind, Bytes: f.der})
		if err := replace(filepath.Join(dir, f.name), content); err != nil {
			return nil, fmt.Errorf("credentials of %s: %w", id, err)
		}
	}
	return &transport.Files{
		Certificate: filepath.Join(dir, CertificateFile),
		Key:         filepath.Join(dir, KeyFile),
		Roots:       filepath.Join(dir, RootsFile),
	}, nil
}

func replace(path string, content []byte) error {
	next := path + ".new"
	if err := os.WriteFile(next, content, 0o600); err != nil {
		return err
	}
	return os.Rename(next, path)
}
