package transport_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spire-raft/spire-raft/transport"
	"github.com/spire-raft/spire-raft/transport/devca"
)

// rsaBundle is of n2, and of an authority with a key of so many bits.
func rsaBundle(t *testing.T, authority, node int) *transport.Bundle {
	t.Helper()
	t.Setenv("GODEBUG", "rsa1024min=0")
	var keys [2]*rsa.PrivateKey
	for i, bits := range []int{authority, node} {
		var err error
		if keys[i], err = rsa.GenerateKey(rand.Reader, bits); err != nil {
			t.Fatal(err)
		}
	}
	return bundleOf(t, &x509.Certificate{}, keys[0], keys[1])
}

// bundleOf is of n2, and of an authority that is like the template.
func bundleOf(t *testing.T, root *x509.Certificate, authority, node crypto.Signer) *transport.Bundle {
	t.Helper()
	root.SerialNumber, root.IsCA, root.BasicConstraintsValid, root.KeyUsage = big.NewInt(1), true, true, x509.KeyUsageCertSign
	root.NotBefore, root.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	leaf := devca.Template(id("n2"), time.Hour)
	leaf.SerialNumber = big.NewInt(2)
	der, err := x509.CreateCertificate(rand.Reader, root, root, authority.Public(), authority)
	if err != nil {
		t.Fatal(err)
	}
	if root, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	if der, err = x509.CreateCertificate(rand.Reader, leaf, root, node.Public(), authority); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	return &transport.Bundle{Certificate: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: node}, Roots: pool}
}

// The authority of a trust domain issues for whoever may register a workload.
func TestAuthorityOfATrustDomainIsRefused(t *testing.T) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, uri := range []*url.URL{{Scheme: "spiffe", Host: "example.org"}, {Scheme: "https", Host: "example.org"}} {
		cfg := newCluster(t).config(t, "n2")
		cfg.Credentials = bundleOf(t, &x509.Certificate{URIs: []*url.URL{uri}}, key, key)
		tr, err := transport.Listen(t.Context(), cfg)
		if err == nil {
			tr.Close()
		}
		if uri.Scheme != "spiffe" {
			if err != nil {
				t.Errorf("an authority that names %s: %v", uri, err)
			}
			continue
		}
		wantErrors(t, err, transport.ErrUntrusted)
		if err == nil || !strings.Contains(err.Error(), "for nothing else") {
			t.Errorf("the error doesn't tell what helps: %v", err)
		}
	}
}

func TestRSAKeysUnder2048BitsAreRefused(t *testing.T) {
	for _, tc := range []struct {
		name            string
		authority, node int
		refused         bool
	}{
		{"the node's", 2048, 1024, true},
		{"the authority's", 1024, 2048, true},
		{"none", 2048, 2048, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := newCluster(t).config(t, "n2")
			cfg.Credentials = rsaBundle(t, tc.authority, tc.node)
			tr, err := transport.Listen(t.Context(), cfg)
			if err == nil {
				tr.Close()
			}
			if tc.refused {
				wantErrors(t, err, transport.ErrUntrusted)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestChainOfTooManyCertificatesIsRefused(t *testing.T) {
	cfg := newCluster(t).config(t, "n1")
	b := cfg.Credentials.(*transport.Bundle)
	for range 5 {
		b.Certificate.Certificate = append(b.Certificate.Certificate, b.Certificate.Certificate[0])
	}
	_, err := transport.Listen(t.Context(), cfg)
	wantErrors(t, err, transport.ErrUntrusted)
	if err == nil || !strings.Contains(err.Error(), "chain of 6") {
		t.Errorf("error doesn't tell why: %v", err)
	}
}

// An authority that is dropped is out at once, also where it has issued this
// node's own certificate.
func TestRootsThatDropTheOwnAuthorityCountForPeers(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c, next := newCluster(t), newCA(t)
		var logged logBuffer
		files := writeFiles(t, c.ca, dir, id("n1"))
		n1 := c.start(t, "n1", func(cfg *transport.Config) { cfg.Credentials, cfg.Log = files, logged.logger() })
		n2 := c.start(t, "n2")
		n3 := c.start(t, "n3", func(cfg *transport.Config) {
			cfg.Credentials = bothRoots(t, issue(t, next, id("n3")), &transport.Bundle{Certificate: tls.Certificate{Certificate: [][]byte{leafOf(t, files)}}})
		})
		echo(n1, transport.Peer)
		wantEcho(t, dial(t, n2, transport.Peer, "n1"))

		time.Sleep(2 * time.Second)
		if err := os.WriteFile(files.Roots, rootsPEM(t, next), 0o600); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			_, err := n2.Dial(t.Context(), transport.Peer, "n1")
			wantErrors(t, err, transport.ErrRefused, transport.ErrUntrusted)
			wantEcho(t, dial(t, n3, transport.Peer, "n1"))
		}
		if n := strings.Count(logged.String(), "don't vouch for this node's own certificate"); n != 1 {
			t.Errorf("it is told %d times: %s", n, &logged)
		}
	})
}

// leafOf is the certificate of a node's files.
func leafOf(t *testing.T, files *transport.Files) []byte {
	t.Helper()
	b, err := files.Load()
	if err != nil {
		t.Fatal(err)
	}
	return b.Certificate.Certificate[0]
}
