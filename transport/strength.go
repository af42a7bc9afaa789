package transport

import (
	"cmp"
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

// checkChains returns nil where one of the chains has only keys that are strong
// enough, and authorities that don't issue for workloads.
func checkChains(chains [][]*x509.Certificate) error {
	var err error
	for _, chain := range chains {
		if err = cmp.Or(weakest(chain), shared(chain[1:])); err == nil {
			return nil
		}
	}
	return err
}

// shared finds the signing authority of a SPIFFE trust domain, by the name that
// makes it one (SPIFFE X.509-SVID, section 3.2). What it issues is for everybody
// who may register a workload, and nodes hold what decides about them.
func shared(authorities []*x509.Certificate) error {
	for _, cert := range authorities {
		for _, uri := range cert.URIs {
			if strings.EqualFold(uri.Scheme, "spiffe") {
				return fmt.Errorf("%w: its authority is that of the trust domain %.300q, which issues for workloads; "+
					"use one that issues for the nodes of this cluster and for nothing else", ErrUntrusted, uri.Host)
			}
		}
	}
	return nil
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
