package transport_test

import (
	"crypto/x509"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/spire-raft/spire-raft/transport"
)

func TestParseIdentity(t *testing.T) {
	long := strings.Repeat("a", 128)
	for _, uri := range []string{
		"spiffe://example.org/spire/raft/c1/n1",
		"spiffe://example.org/spire/raft/c-1.x_y/0",
		"spiffe://" + strings.Repeat("d", 255) + "/spire/raft/" + long + "/" + long,
	} {
		got, err := parseURI(t, uri)
		if err != nil || got.ID() != uri {
			t.Errorf("%s: %v, %v", uri, got, err)
		}
	}
	for _, uri := range []string{
		"",
		"https://example.org/spire/raft/c1/n1",
		"spiffe:example.org/spire/raft/c1/n1",
		"spiffe:///spire/raft/c1/n1",
		"spiffe://example.org/spire/raft/c1",
		"spiffe://example.org/spire/raft/c1/n1/",
		"spiffe://example.org/spire/raft/c1/n1/x",
		"spiffe://example.org/other/c1/n1",
		"spiffe://example.org//spire/raft/c1/n1",
		"spiffe://example.org/spire/raft//n1",
		"spiffe://example.org/spire/raft/c1/",
		"spiffe://example.org/spire/raft/c1/..",
		"spiffe://example.org/spire/raft/./n1",
		"spiffe://example.org/spire/raft/C1/n1",
		"spiffe://EXAMPLE.org/spire/raft/c1/n1",
		"spiffe://example.org/spire/raft/c1/n%31",
		"spiffe://example.org/spire/raft/c1/n%2f1",
		"spiffe://example.org/spire/raft/c1/n1?x",
		"spiffe://example.org/spire/raft/c1/n1?",
		"spiffe://example.org/spire/raft/c1/n1#x",
		"spiffe://example.org:80/spire/raft/c1/n1",
		"spiffe://user@example.org/spire/raft/c1/n1",
		"spiffe://example.org/spire/raft/c1/" + long + "a",
		"spiffe://example.org/spire/raft/" + long + "a/n1",
		"spiffe://" + strings.Repeat("d", 256) + "/spire/raft/c1/n1",
	} {
		if got, err := parseURI(t, uri); !errors.Is(err, transport.ErrBadIdentity) {
			t.Errorf("%q: %v, %v; want ErrBadIdentity", uri, got, err)
		}
	}
}

func parseURI(t testing.TB, uri string) (transport.Identity, error) {
	t.Helper()
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	return transport.ParseIdentity(&x509.Certificate{URIs: []*url.URL{u}})
}

// An identity that parses is valid and has one URI only.
func FuzzParseIdentity(f *testing.F) {
	f.Add("spiffe://example.org/spire/raft/c1/n1")
	f.Add("spiffe://example.org/spire/raft/c1/n%31?x#y")
	f.Fuzz(func(t *testing.T, uri string) {
		u, err := url.Parse(uri)
		if err != nil {
			return
		}
		id, err := transport.ParseIdentity(&x509.Certificate{URIs: []*url.URL{u}})
		if err != nil {
			if !errors.Is(err, transport.ErrBadIdentity) {
				t.Errorf("error %v", err)
			}
			return
		}
		if err := id.Validate(); err != nil {
			t.Error(err)
		}
		if id.ID() != u.String() {
			t.Errorf("%q became %q", u, id.ID())
		}
	})
}
