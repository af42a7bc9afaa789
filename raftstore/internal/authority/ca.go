package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"time"

	"github.com/spire-raft/spire-raft/transport"
)

const (
	// Lifetime is that of an authority, which has one key for as long. It is to be
	// replaced at two thirds.
	Lifetime = 10 * 365 * 24 * time.Hour

	// skew is how far back certificates are valid, for clocks that differ.
	skew = 5 * time.Minute

	serialBits = 127 // positive, and unlikely to come twice
)

// CA is a cluster's authority. Its methods may be called concurrently.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewInstance returns a random instance of a cluster, in hex.
func NewInstance() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, see its documentation
	return hex.EncodeToString(b[:])
}

// TrustDomain is that of the names which a cluster's own authority gives. It is
// the cluster's alone: no other authority of the installation names anything in
// it.
func TrustDomain(cluster string) string { return cluster + ".raft.internal" }

// NewCA makes an authority for an instance of a cluster.
func NewCA(cluster, instance string, lifetime time.Duration) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{CommonName: "spire-raft " + instance, Organization: []string{cluster}},
		NotBefore:             time.Now().Add(-skew),
		NotAfter:              time.Now().Add(lifetime),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true, // it signs nodes, never another authority
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &CA{cert: cert, key: key}, nil
}

// OpenCA returns the authority with this certificate, as DER, and this key, as
// PKCS #8.
func OpenCA(certificate, key []byte) (*CA, error) {
	cert, err := x509.ParseCertificate(certificate)
	if err != nil {
		return nil, fmt.Errorf("certificate of the authority: %w", err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("key of the authority: %w", err)
	}
	private, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !private.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("key of the authority: it is not that of its certificate")
	}
	return &CA{cert: cert, key: private}, nil
}

// Certificate returns the authority's certificate as DER.
func (ca *CA) Certificate() []byte { return ca.cert.Raw }

// Key returns the authority's key as PKCS #8.
func (ca *CA) Key() ([]byte, error) { return x509.MarshalPKCS8PrivateKey(ca.key) }

// Pin returns what a token has of the authority.
func (ca *CA) Pin() Pin { return pinOf(ca.cert) }

// Leaf is what a node's certificate says of it.
type Leaf struct {
	Identity transport.Identity
	Instance string // of the cluster
	DiskID   string
	Lifetime time.Duration
}

// Issue returns the chain of a node's certificate, leaf first and the authority
// last, so that a node with a token finds the pinned key in it. Of the request it
// takes the key and nothing else.
func (ca *CA) Issue(request []byte, l Leaf) ([][]byte, error) {
	key, _, err := CheckRequest(request)
	if err != nil {
		return nil, err
	}
	if err := l.Identity.Validate(); err != nil {
		return nil, err
	}
	uri, err := url.Parse(l.Identity.ID())
	if err != nil {
		return nil, err
	}
	end := time.Now().Add(l.Lifetime)
	if end.After(ca.cert.NotAfter) {
		end = ca.cert.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber: newSerial(),
		// What a certificate is bound to beyond its name. An attribute of a
		// subject has 64 characters in the standards; Go reads more.
		Subject:     pkix.Name{OrganizationalUnit: []string{l.Instance}, SerialNumber: l.DiskID},
		NotBefore:   time.Now().Add(-skew),
		NotAfter:    end,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		URIs:        []*url.URL{uri},

		BasicConstraintsValid: true, // and says that the node is no authority
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key, ca.key)
	if err != nil {
		return nil, fmt.Errorf("issue certificate of %s: %w", l.Identity, err)
	}
	return [][]byte{der, ca.cert.Raw}, nil
}

func newSerial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits))
	if err != nil {
		panic(err) // rand.Reader never fails
	}
	return n.Add(n, big.NewInt(1))
}

// Pin is the SHA-256 of an authority's public key, as SubjectPublicKeyInfo.
type Pin [sha256.Size]byte

// String returns the pin in hex.
func (p Pin) String() string { return hex.EncodeToString(p[:]) }

// PinOf returns the pin of the authority with this certificate, as DER.
func PinOf(certificate []byte) (Pin, error) {
	cert, err := x509.ParseCertificate(certificate)
	if err != nil {
		return Pin{}, fmt.Errorf("certificate of the authority: %w", err)
	}
	return pinOf(cert), nil
}

// RotationDue is when the authority with this certificate, as DER, is to be
// replaced by another one.
func RotationDue(certificate []byte) (time.Time, error) {
	cert, err := x509.ParseCertificate(certificate)
	if err != nil {
		return time.Time{}, fmt.Errorf("certificate of the authority: %w", err)
	}
	issued := Issued(cert.NotBefore)
	return issued.Add(cert.NotAfter.Sub(issued) * 2 / 3), nil
}

// Issued is when a certificate was made, an authority's or a node's, that is valid
// from notBefore.
func Issued(notBefore time.Time) time.Time { return notBefore.Add(skew) }

func pinOf(cert *x509.Certificate) Pin { return sha256.Sum256(cert.RawSubjectPublicKeyInfo) }

// Check returns nil where chain, leaf first, is of a node of the cluster that
// the pinned authority has issued it to, and else an ErrUntrusted, or what is
// wrong with the name.
func (p Pin) Check(chain []*x509.Certificate, cluster string) error {
	roots := x509.NewCertPool()
	pinned := false
	for _, cert := range chain {
		if pinOf(cert) == p {
			roots.AddCert(cert)
			pinned = true
		}
	}
	if !pinned {
		return fmt.Errorf("%w: it is not of the authority that the join token pins; if that was replaced since, make a new token", transport.ErrUntrusted)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	if err != nil {
		return fmt.Errorf("%w: %w", transport.ErrUntrusted, err)
	}
	id, err := transport.ParseIdentity(chain[0])
	if err != nil {
		return err
	}
	if id.Cluster != cluster {
		return fmt.Errorf("%w: it is of %s", transport.ErrOtherCluster, id)
	}
	return nil
}
