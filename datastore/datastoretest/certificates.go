package datastoretest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"math/big"
	"time"
)

// malformedX509 is what package x509 says of bytes that are no certificate.
const malformedX509 = "x509: malformed certificate"

// newCertificate returns a certificate, DER, with a serial number, a subject key
// id and the second at which it expires.
func (e *env) newCertificate(serial int64, keyID string, notAfter time.Time) []byte {
	e.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	e.succeeds(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		SubjectKeyId: []byte(keyID),
		NotBefore:    notAfter.Add(-time.Hour),
		NotAfter:     notAfter,
		IsCA:         true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	e.succeeds(err)
	return der
}

// hexID is a subject key id as the DataStore is given it.
func hexID(keyID string) string { return hex.EncodeToString([]byte(keyID)) }
