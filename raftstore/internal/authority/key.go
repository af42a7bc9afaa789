package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
)

// ErrRequest: a certificate signing request that no node of this version makes.
var ErrRequest = errors.New("certificate request refused")

// requestBytesMax bounds a request. One of NewRequest has some 200 bytes.
const requestBytesMax = 4 << 10

// newKey makes the key of a node.
func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// newRequest returns the request for a certificate of key. It names nobody: who
// the certificate is for is decided by whoever issues it.
func newRequest(key *ecdsa.PrivateKey) ([]byte, error) {
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{SignatureAlgorithm: x509.ECDSAWithSHA256}, key)
}

// CheckRequest returns the key of a request and its hash. The key is on P-256,
// and whoever has made the request has it: else the error is ErrRequest.
func CheckRequest(der []byte) (*ecdsa.PublicKey, [sha256.Size]byte, error) {
	refuse := func(why error) (*ecdsa.PublicKey, [sha256.Size]byte, error) {
		return nil, [sha256.Size]byte{}, fmt.Errorf("%w: %w", ErrRequest, why)
	}
	if len(der) > requestBytesMax {
		return refuse(fmt.Errorf("it has %d bytes, the limit is %d", len(der), requestBytesMax))
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return refuse(err)
	}
	key, ok := request.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() || request.SignatureAlgorithm != x509.ECDSAWithSHA256 {
		return refuse(errors.New("its key is not ECDSA on P-256 with SHA-256"))
	}
	if err := request.CheckSignature(); err != nil {
		return refuse(err)
	}
	return key, sha256.Sum256(request.RawSubjectPublicKeyInfo), nil
}
