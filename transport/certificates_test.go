package transport_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spire-raft/spire-raft/transport"
	"github.com/spire-raft/spire-raft/transport/devca"
)

// spoil issues a certificate that is wrong in some way.
func spoil(t *testing.T, ca *devca.CA, how func(*x509.Certificate)) *transport.Bundle {
	t.Helper()
	template := devca.Template(id("n2"), time.Hour)
	how(template)
	b, err := ca.Sign(template)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func uris(raw ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.URIs = nil
		for _, r := range raw {
			u, err := url.Parse(r)
			if err != nil {
				panic(err)
			}
			c.URIs = append(c.URIs, u)
		}
	}
}

func expired(c *x509.Certificate) {
	c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
}

func early(c *x509.Certificate) {
	c.NotBefore, c.NotAfter = time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
}

func usage(u ...x509.ExtKeyUsage) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.ExtKeyUsage = u }
}

// badCertificates are certificates that n2 must not get anywhere with.
var badCertificates = []struct {
	name  string
	spoil func(*x509.Certificate)
	want  error
}{
	{"expired", expired, transport.ErrExpired},
	{"not valid yet", early, transport.ErrExpired},
	{"another cluster", uris("spiffe://example.org/spire/raft/c2/n2"), transport.ErrOtherCluster},
	{"another trust domain", uris("spiffe://example.com/spire/raft/c1/n2"), transport.ErrOtherCluster},
	{"no URI", uris(), transport.ErrBadIdentity},
	{"two URIs", uris("spiffe://example.org/spire/raft/c1/n2", "spiffe://example.org/spire/raft/c1/n3"), transport.ErrBadIdentity},
	{"a workload of the same trust domain", uris("spiffe://example.org/workload"), transport.ErrBadIdentity},
	{"a usage that is no TLS", usage(x509.ExtKeyUsageCodeSigning), transport.ErrUntrusted},
}

// The listening side refuses each, and the dialer learns why.
func TestBadCertificateOfADialer(t *testing.T) {
	for _, tc := range append(badCertificates, struct {
		name  string
		spoil func(*x509.Certificate)
		want  error
	}{"servers only", usage(x509.ExtKeyUsageServerAuth), transport.ErrUntrusted}) {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				var logged logBuffer
				n1 := c.start(t, "n1", func(cfg *transport.Config) {
					cfg.Log = logged.logger()
					cfg.Authorize = func(transport.Kind, transport.PeerInfo) error {
						t.Error("Authorize was asked")
						return nil
					}
				})
				echo(n1, transport.Raft)
				conn := c.stranger(t, "n1", &tls.Config{
					Certificates: []tls.Certificate{spoil(t, c.ca, tc.spoil).Certificate},
					NextProtos:   []string{transport.Raft.ALPN()},
				})
				if err := conn.Handshake(); err != nil {
					t.Fatal(err)
				}
				answer, err := io.ReadAll(conn)
				if err != nil || len(answer) != 2 || answer[0] == 0 {
					t.Errorf("answer is %q, %v; want a refusal without a text", answer, err)
				}
				conn.Close()
				time.Sleep(time.Second)
				if !strings.Contains(logged.String(), tc.want.Error()) {
					t.Errorf("log has no %q: %s", tc.want, &logged)
				}
			})
		})
	}
}

// A node refuses to start with each of its own.
func TestBadCertificateOfTheNodeItself(t *testing.T) {
	type row = struct {
		name  string
		spoil func(*x509.Certificate)
		want  error
	}
	for _, tc := range append(badCertificates,
		row{"another node", uris("spiffe://example.org/spire/raft/c1/n3"), transport.ErrWrongNode},
		row{"servers only", usage(x509.ExtKeyUsageServerAuth), transport.ErrUntrusted},
		row{"clients only", usage(x509.ExtKeyUsageClientAuth), transport.ErrUntrusted},
	) {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				cfg := c.config(t, "n2")
				cfg.Credentials = spoil(t, c.ca, tc.spoil)
				_, err := transport.Listen(t.Context(), cfg)
				wantErrors(t, err, tc.want)
			})
		})
	}
	t.Run("another CA", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t)
			cfg := c.config(t, "n2")
			cfg.Credentials = &transport.Bundle{Certificate: issue(t, newCA(t), id("n2")).Certificate, Roots: c.ca.Roots()}
			_, err := transport.Listen(t.Context(), cfg)
			wantErrors(t, err, transport.ErrUntrusted)
		})
	})
	for name, b := range map[string]*transport.Bundle{
		"no bundle":      nil,
		"no certificate": {},
		"no key":         {Certificate: tls.Certificate{Certificate: issue(t, newCA(t), id("n2")).Certificate.Certificate}},
		"no roots":       {Certificate: issue(t, newCA(t), id("n2")).Certificate},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			cfg := c.config(t, "n2")
			cfg.Credentials = b
			if _, err := transport.Listen(t.Context(), cfg); err == nil {
				t.Error("Listen took it")
			}
		})
	}
}

// In a cluster of two authorities, where one side does not know the other's.
func TestAnotherCA(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, other := newCluster(t), newCA(t)
		n1 := c.start(t, "n1")
		echo(n1, transport.Raft)
		strange := issue(t, other, id("n2"))
		n2 := c.start(t, "n2", func(cfg *transport.Config) {
			cfg.Credentials = bothRoots(t, strange, issue(t, c.ca, id("n1")), cfg.Credentials.(*transport.Bundle))
		})
		echo(n2, transport.Raft)

		// n1 does not trust n2, whichever of them dials.
		_, err := n1.Dial(t.Context(), transport.Raft, "n2")
		wantErrors(t, err, transport.ErrUntrusted)
		if errors.Is(err, transport.ErrRefused) {
			t.Errorf("it was not the peer that refused: %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		c, other := newCluster(t), newCA(t)
		// n1 alone is a root for n2, so that n2 trusts n1 and not the reverse.
		own := issue(t, c.ca, id("n1"))
		n1 := c.start(t, "n1", func(cfg *transport.Config) { cfg.Credentials = own })
		echo(n1, transport.Raft)
		n2 := c.start(t, "n2", func(cfg *transport.Config) {
			cfg.Credentials = bothRoots(t, issue(t, other, id("n2")), own)
		})
		_, err := n2.Dial(t.Context(), transport.Raft, "n1")
		wantErrors(t, err, transport.ErrRefused, transport.ErrUntrusted)
	})
}

func TestCertificateThatExpiresLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		n1 := c.start(t, "n1")
		n2 := c.start(t, "n2", func(cfg *transport.Config) { cfg.Credentials = spoil(t, c.ca, func(*x509.Certificate) {}) })
		echo(n1, transport.Raft)
		echo(n2, transport.Raft)
		open := dial(t, n2, transport.Raft, "n1")
		time.Sleep(90 * time.Minute)
		_, err := n2.Dial(t.Context(), transport.Raft, "n1")
		wantErrors(t, err, transport.ErrRefused, transport.ErrExpired)
		_, err = n1.Dial(t.Context(), transport.Raft, "n2")
		wantErrors(t, err, transport.ErrExpired)
		wantEcho(t, open) // what is open stays
	})
}

func TestAnotherCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		n1 := c.start(t, "n1")
		echo(n1, transport.Raft)
		foreign := transport.Identity{TrustDomain: "example.org", Cluster: "c2", Node: "n1"}
		n2 := c.start(t, "n2", func(cfg *transport.Config) {
			cfg.Identity, cfg.Credentials = foreign, issue(t, c.ca, foreign)
		})
		echo(n2, transport.Raft)
		_, err := n1.Dial(t.Context(), transport.Raft, "n2")
		wantErrors(t, err, transport.ErrOtherCluster)
		_, err = n2.DialAddress(t.Context(), transport.Raft, "n1"+port)
		wantErrors(t, err, transport.ErrOtherCluster)
	})
}

func TestAnotherNodeAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		n1 := c.start(t, "n1")
		c.start(t, "n2", func(cfg *transport.Config) { cfg.Network = c.net.Host("n3") })
		_, err := n1.Dial(t.Context(), transport.Raft, "n3")
		wantErrors(t, err, transport.ErrWrongNode)
		if err == nil || !strings.Contains(err.Error(), "example.org/spire/raft/c1/n2") && !strings.Contains(err.Error(), "n2 answers") {
			t.Errorf("error does not tell who answers: %v", err)
		}
	})
}

func TestNotAuthorized(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		n1 := c.start(t, "n1", func(cfg *transport.Config) {
			cfg.Authorize = func(kind transport.Kind, peer transport.PeerInfo) error {
				if peer.Identity != id("n2") {
					t.Errorf("asked about %v", peer)
				}
				if kind == transport.Join {
					return nil
				}
				return errors.New("it was removed\x1b[2J " + strings.Repeat("x", 500))
			}
		})
		echo(n1, transport.Raft)
		echo(n1, transport.Join)
		n2 := c.start(t, "n2")
		_, err := n2.Dial(t.Context(), transport.Raft, "n1")
		wantErrors(t, err, transport.ErrRefused, transport.ErrNotAuthorized)
		if err == nil || !strings.Contains(err.Error(), "it was removed?") || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("error does not tell the reason, or too much: %q", err)
		}
		wantEcho(t, dial(t, n2, transport.Join, "n1"))
	})
}

func TestStrangersWithoutCertificateOrKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		n1 := c.start(t, "n1")
		echo(n1, transport.Raft)
		good := []tls.Certificate{issue(t, c.ca, id("n2")).Certificate}
		for name, cfg := range map[string]*tls.Config{
			"no certificate": {NextProtos: []string{transport.Raft.ALPN()}},
			"no kind":        {Certificates: good},
			"other kind":     {Certificates: good, NextProtos: []string{"h2"}},
		} {
			conn := c.stranger(t, "n1", cfg)
			err := conn.Handshake()
			if err == nil {
				var n int
				if n, err = conn.Read(make([]byte, 1)); n != 0 {
					t.Errorf("%s: got an answer", name)
				}
			}
			if err == nil {
				t.Errorf("%s: no error", name)
			}
		}
	})
}
