package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/transport"
)

const cluster = "prod"

var node1 = transport.Identity{TrustDomain: TrustDomain(cluster), Cluster: cluster, Node: "node-1"}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newTestCA(t *testing.T) *CA {
	t.Helper()
	ca, err := NewCA(cluster, NewInstance(), Lifetime)
	must(t, err)
	return ca
}

func chainOf(t *testing.T, raw [][]byte) []*x509.Certificate {
	t.Helper()
	var chain []*x509.Certificate
	for _, der := range raw {
		cert, err := x509.ParseCertificate(der)
		must(t, err)
		chain = append(chain, cert)
	}
	return chain
}

// request returns a signed request, by key, that asks for all it can.
func request(t *testing.T, key any, template x509.CertificateRequest) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &template, key)
	must(t, err)
	return der
}

func TestIssue_TakesTheKeyOfARequestAlone(t *testing.T) {
	ca := newTestCA(t)
	key, err := newKey()
	must(t, err)
	der := request(t, key, x509.CertificateRequest{
		Subject:     pkix.Name{CommonName: "admin", Organization: []string{"masters"}},
		DNSNames:    []string{"spire.example.org"},
		IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1)},
	})
	raw, err := ca.Issue(der, Leaf{Identity: node1, Instance: "aa", DiskID: "d1", Lifetime: time.Hour})
	must(t, err)
	leaf := chainOf(t, raw)[0]
	id, err := transport.ParseIdentity(leaf)
	must(t, err)
	if id != node1 || leaf.Subject.SerialNumber != "d1" || leaf.Subject.OrganizationalUnit[0] != "aa" {
		t.Errorf("the certificate is of %v, disk %q, instance %q", id, leaf.Subject.SerialNumber, leaf.Subject.OrganizationalUnit)
	}
	if leaf.Subject.CommonName != "" || len(leaf.Subject.Organization) > 0 || len(leaf.DNSNames) > 0 || len(leaf.IPAddresses) > 0 {
		t.Errorf("the certificate has what the request has asked for: %v %v %v", leaf.Subject, leaf.DNSNames, leaf.IPAddresses)
	}
	if leaf.IsCA || leaf.KeyUsage != x509.KeyUsageDigitalSignature || !key.PublicKey.Equal(leaf.PublicKey) {
		t.Errorf("CA %v, key usage %v, or the key of another", leaf.IsCA, leaf.KeyUsage)
	}
	if life := time.Until(leaf.NotAfter); life > time.Hour || life < 59*time.Minute || time.Since(leaf.NotBefore) < skew {
		t.Errorf("valid from %v to %v", leaf.NotBefore, leaf.NotAfter)
	}
}

func TestIssue_RefusesRequests(t *testing.T) {
	good, err := newKey()
	must(t, err)
	large, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	signed := request(t, good, x509.CertificateRequest{})
	forged := append([]byte(nil), signed...)
	forged[len(forged)-1] ^= 1 // of the signature
	for name, der := range map[string][]byte{
		"nothing":           nil,
		"no request":        []byte("hello"),
		"a larger curve":    request(t, large, x509.CertificateRequest{}),
		"an RSA key":        request(t, rsaKey, x509.CertificateRequest{}),
		"SHA-512":           request(t, good, x509.CertificateRequest{SignatureAlgorithm: x509.ECDSAWithSHA512}),
		"a false signature": forged,
		"a long one":        request(t, good, x509.CertificateRequest{DNSNames: []string{strings.Repeat("a.", 3000) + "a"}}),
	} {
		if _, err := newTestCA(t).Issue(der, Leaf{Identity: node1, Lifetime: time.Hour}); !errors.Is(err, ErrRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPin_KnowsNodesOfItsAuthority(t *testing.T) {
	ca, other := newTestCA(t), newTestCA(t)
	issue := func(ca *CA, id transport.Identity, life time.Duration) []*x509.Certificate {
		key, err := newKey()
		must(t, err)
		raw, err := ca.Issue(request(t, key, x509.CertificateRequest{}), Leaf{Identity: id, Lifetime: life})
		must(t, err)
		return chainOf(t, raw)
	}
	good := issue(ca, node1, time.Hour)
	elsewhere := node1
	elsewhere.Cluster = "other"
	for name, tc := range map[string]struct {
		chain []*x509.Certificate
		want  error
	}{
		"a node":                            {good, nil},
		"one of another authority":          {issue(other, node1, time.Hour), transport.ErrUntrusted},
		"one that only shows the authority": {append(issue(other, node1, time.Hour), good[1]), transport.ErrUntrusted},
		"one of another cluster":            {issue(ca, elsewhere, time.Hour), transport.ErrOtherCluster},
		"one whose certificate has expired": {issue(ca, node1, -time.Second), transport.ErrUntrusted},
		"the authority itself":              {good[1:], transport.ErrBadIdentity},
		"one without the authority's":       {good[:1], transport.ErrUntrusted},
		"nobody":                            {nil, transport.ErrUntrusted},
	} {
		if err := ca.Pin().Check(tc.chain, cluster); !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
}

func TestOpenCA_DemandsTheKeyOfTheCertificate(t *testing.T) {
	ca, other := newTestCA(t), newTestCA(t)
	key, err := ca.Key()
	must(t, err)
	again, err := OpenCA(ca.Certificate(), key)
	must(t, err)
	if again.Pin() != ca.Pin() {
		t.Error("the authority has another pin")
	}
	if _, err := OpenCA(other.Certificate(), key); err == nil {
		t.Error("a key passes for that of another authority")
	}
}

func TestToken_TextAndBack(t *testing.T) {
	pin := newTestCA(t).Pin()
	pinned := NewToken(cluster)
	pinned.Pin = &pin
	for _, want := range []Token{pinned, NewToken(cluster)} {
		got, err := ParseToken(want.Text(), cluster)
		must(t, err)
		if got.Secret != want.Secret || got.Cluster != cluster || (got.Pin == nil) != (want.Pin == nil) || got.Pin != nil && *got.Pin != pin {
			t.Errorf("token %v came back as %v", want, got)
		}
	}
	text := pinned.Text()
	for _, bad := range []string{"", "hello", text + "A", text[:len(text)-1], text + "/", "v1" + text[2:], strings.Replace(text, "/", "//", 1)} {
		if _, err := ParseToken(bad, cluster); err == nil {
			t.Errorf("%q passes for a token", bad)
		}
	}
	if _, err := ParseToken(text, "other"); err == nil {
		t.Error("a token passes for one of another cluster")
	}
}

func TestCredentials_FoundSaveOpenAdopt(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("credentials of an empty directory: %v", err)
	}
	c, err := Found(dir, Leaf{Identity: node1, Instance: "aa", DiskID: "d1", Lifetime: time.Hour}, Lifetime, (*CA).Key)
	must(t, err)
	if _, err := os.Stat(filepath.Join(dir, FileName)); !errors.Is(err, fs.ErrNotExist) {
		t.Error("there is a file before Save")
	}
	must(t, c.Save())
	again, err := Open(dir)
	must(t, err)
	f := again.Founding()
	if f == nil || f.Instance != "aa" {
		t.Fatalf("founding %+v after opening", f)
	}
	ca, err := OpenCA(f.Certificate, f.Key)
	must(t, err)
	must(t, again.Founded())

	// A new certificate for the same key.
	first, err := again.Load()
	must(t, err)
	der, err := again.Request()
	must(t, err)
	chain, err := ca.Issue(der, Leaf{Identity: node1, Lifetime: 2 * time.Hour})
	must(t, err)
	pin, otherPin := ca.Pin(), newTestCA(t).Pin()
	if err := again.Adopt(chain, Roots{Certificates: [][]byte{ca.Certificate()}}, &otherPin); !errors.Is(err, transport.ErrUntrusted) {
		t.Errorf("roots that are not pinned: %v", err)
	}
	foreign, err := New(t.TempDir(), node1, time.Hour)
	must(t, err)
	if err := foreign.Adopt(chain, Roots{Certificates: [][]byte{ca.Certificate()}}, &pin); err == nil {
		t.Error("credentials take a certificate of another key")
	}
	must(t, again.Adopt(chain, Roots{Certificates: [][]byte{ca.Certificate()}}, &pin))
	second, err := again.Load()
	must(t, err)
	reopened, err := Open(dir)
	must(t, err)
	_, to := reopened.Validity()
	if first == second || time.Until(to) < time.Hour || reopened.Founding() != nil {
		t.Errorf("same bundle %v, valid until %v, founding %v", first == second, to, reopened.Founding())
	}
}

func TestOpen_RefusesDamage(t *testing.T) {
	dir := t.TempDir()
	c, err := New(dir, node1, time.Hour)
	must(t, err)
	must(t, c.Save())
	path := filepath.Join(dir, FileName)
	data, err := os.ReadFile(path)
	must(t, err)
	data[20] ^= 1
	must(t, os.WriteFile(path, data, 0o600))
	if _, err := Open(dir); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("damaged credentials: %v", err)
	}
}

// What it is dated back by is no part of an authority's life.
func TestRotationDue_AtTwoThirdsOfALife(t *testing.T) {
	for _, life := range []time.Duration{3 * time.Minute, Lifetime} {
		before := time.Now()
		ca, err := NewCA("c", "i", life)
		must(t, err)
		due, err := RotationDue(ca.Certificate())
		must(t, err)
		if off := due.Sub(before.Add(life * 2 / 3)); off.Abs() > 10*time.Second {
			t.Errorf("of a life of %v it is due after %v", life, due.Sub(before))
		}
	}
}
