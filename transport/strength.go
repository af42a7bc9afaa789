package transport

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
)

// chainMax bounds the certificates that a node may show: its own and some
// intermediate ones. Each costs whoever checks it.
const chainMax = 5

// rsaBitsMin and ecdsaBitsMin are the weakest keys that count.
const (
	rsaBitsMin   = 2048
	ecdsaBitsMin = 256
)

// checkLeaf returns what keeps a certificate from being a node's, besides its
// chain and its name.
func checkLeaf(leaf *x509.Certificate) error {
	switch {
	case leaf.IsCA:
		return fmt.Errorf("%w: it is an authority's, not a node's", ErrUntrusted)
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return fmt.Errorf("%w: its key usage lacks digitalSignature", ErrUntrusted)
	}
	return nil
}

// checkStrength returns nil where one of the chains has only keys that are
// strong enough.
func checkStrength(chains [][]*x509.Certificate) error {
	var weak error
	for _, chain := range chains {
		if weak = weakest(chain); weak == nil {
			return nil
		}
	}
	return weak
}

func weakest(chain []*x509.Certificate) error {
	for _, cert := range chain {
		switch key := cert.PublicKey.(type) {
		case *rsa.PublicKey:
			if bits := key.N.BitLen(); bits < rsaBitsMin {
				return fmt.Errorf("%w: the key of %.300q is RSA with %d bits, under %d", ErrUntrusted, cert.Subject, bits, rsaBitsMin)
			}
		case *ecdsa.PublicKey:
			if bits := key.Params().BitSize; bits < ecdsaBitsMin {
				return fmt.Errorf("%w: the key of %.300q is ECDSA with %d bits, under %d", ErrUntrusted, cert.Subject, bits, ecdsaBitsMin)
			}
		}
	}
	return nil
}

var errNoName = errors.New("the subject alternative name can't be parsed")

// rawURIs returns the URIs of a certificate as they are written there. A url.URL
// has lost the "#" at the end of one whose fragment is empty.
func rawURIs(cert *x509.Certificate) ([]string, error) {
	const tagURI = 6
	oid := asn1.ObjectIdentifier{2, 5, 29, 17}
	var uris []string
	for _, ext := range cert.Extensions {
		if !ext.Id.Equal(oid) {
			continue
		}
		var names []asn1.RawValue
		if rest, err := asn1.Unmarshal(ext.Value, &names); err != nil || len(rest) > 0 {
			return nil, errNoName
		}
		for _, name := range names {
			if name.Class == asn1.ClassContextSpecific && name.Tag == tagURI {
				uris = append(uris, string(name.Bytes))
			}
		}
	}
	return uris, nil
}

// checkRaw makes sure that the certificate spells the only URI that it has as
// uri is.
func checkRaw(cert *x509.Certificate, uri string) error {
	raw, err := rawURIs(cert)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBadIdentity, err)
	}
	if len(cert.Extensions) > 0 && (len(raw) != 1 || raw[0] != uri) {
		return fmt.Errorf("%w: the certificate names %.300q, which should be %q", ErrBadIdentity, strings.Join(raw, " "), uri)
	}
	return nil
}
