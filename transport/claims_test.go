package transport_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spire-raft/spire-raft/transport"
)

// keyOf is the fingerprint of the key that a bundle's certificate is for.
func keyOf(t *testing.T, b *transport.Bundle) [32]byte {
	t.Helper()
	cert, err := x509.ParseCertificate(b.Certificate.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(cert.RawSubjectPublicKeyInfo)
}

// claiming makes a node claim something.
func claiming(claim transport.Claim) func(*transport.Config) {
	return func(cfg *transport.Config) { cfg.Claim = func() transport.Claim { return claim } }
}

func TestClaims_BothSidesSeeKeyAndClaimOfTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		b1, b2 := issue(t, c.ca, id("n1")), issue(t, c.ca, id("n2"))
		long := strings.Repeat("a", transport.NameBytesMax)
		claim1 := transport.Claim{Instance: "life-1", Disk: long, Openings: openings(transport.OpeningsMax)}
		claim2 := transport.Claim{Instance: "life-1", Openings: openings(1)}
		block, _ := pem.Decode(rootsPEM(t, c.ca))
		root := keyOf(t, &transport.Bundle{Certificate: tls.Certificate{Certificate: [][]byte{block.Bytes}}})
		want1 := transport.PeerInfo{Identity: id("n1"), Key: keyOf(t, b1), Authority: root, Claim: claim1}
		want2 := transport.PeerInfo{Identity: id("n2"), Key: keyOf(t, b2), Authority: root, Claim: claim2}
		asked := 0
		wants := func(want transport.PeerInfo) func(transport.Kind, transport.PeerInfo) error {
			return func(kind transport.Kind, peer transport.PeerInfo) error {
				if asked++; kind != transport.Raft || !reflect.DeepEqual(peer, want) {
					t.Errorf("asked about %v, %+v; want %+v", kind, peer, want)
				}
				return nil
			}
		}
		n1 := c.start(t, "n1", claiming(claim1), func(cfg *transport.Config) {
			cfg.Credentials, cfg.Authorize = b1, wants(want2)
		})
		n2 := c.start(t, "n2", claiming(claim2), func(cfg *transport.Config) {
			cfg.Credentials, cfg.Admit = b2, wants(want1)
		})
		near := dial(t, n2, transport.Raft, "n1")
		far := accept(t, n1, transport.Raft)
		if asked != 2 || !reflect.DeepEqual(near.Peer(), want1) || !reflect.DeepEqual(far.Peer(), want2) {
			t.Errorf("%d asked; the streams have %+v and %+v", asked, near.Peer(), far.Peer())
		}
	})
}

// openings are the last ones of a disk.
func openings(count int) []transport.Opening {
	out := make([]transport.Opening, count)
	for i := range out {
		out[i] = transport.Opening{Number: math.MaxUint64 - uint64(count-1-i), Nonce: [16]byte{15: byte(i)}}
	}
	return out
}

func TestClaims_AdmitRefusesWhoAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		n1 := c.start(t, "n1", claiming(transport.Claim{Instance: "other"}))
		n2 := c.start(t, "n2", func(cfg *transport.Config) {
			cfg.Admit = func(_ transport.Kind, peer transport.PeerInfo) error {
				return errors.Join(transport.ErrOtherInstance, errors.New(peer.Claim.Instance))
			}
		})
		_, err := n2.Dial(t.Context(), transport.Raft, "n1")
		wantErrors(t, err, transport.ErrOtherInstance)
		if errors.Is(err, transport.ErrRefused) {
			t.Errorf("it was not the peer that refused: %v", err)
		}
		wantEnd(t, accept(t, n1, transport.Raft))
	})
}

func TestClaims_RefusedNodeLearnsWhatItMustKnow(t *testing.T) {
	reasons := []error{transport.ErrRemovedPeer, transport.ErrOtherInstance, transport.ErrOldOpening}
	for _, reason := range reasons {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t)
			c.start(t, "n1", func(cfg *transport.Config) {
				cfg.Authorize = func(transport.Kind, transport.PeerInfo) error { return reason }
			})
			_, err := c.start(t, "n2").Dial(t.Context(), transport.Raft, "n1")
			wantErrors(t, err, transport.ErrRefused, transport.ErrNotAuthorized, reason)
			for _, other := range reasons {
				if other != reason && errors.Is(err, other) {
					t.Errorf("it is %v too: %v", other, err)
				}
			}
		})
	}
}

func TestClaims_BytesOnTheWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		authorized := false
		nonce := [16]byte([]byte("0123456789abcdef"))
		echo(c.start(t, "n1", claiming(transport.Claim{Instance: "i2", Disk: "d", Openings: []transport.Opening{{Number: 0x0102, Nonce: nonce}}}), func(cfg *transport.Config) {
			cfg.Authorize = func(_ transport.Kind, peer transport.PeerInfo) error {
				want := transport.Claim{Instance: "i", Disk: "dd", Openings: []transport.Opening{{Number: 0x0a, Nonce: nonce}, {Number: 0x0b}}}
				authorized = reflect.DeepEqual(peer.Claim, want)
				return nil
			}
		}), transport.Raft)
		conn := c.stranger(t, "n1", memberTLS(t, c))
		if _, err := conn.Write([]byte("\x01i\x02dd\x02" + zeros[:7] + "\x0a0123456789abcdef" + zeros[:7] + "\x0b" + zeros[:16] + "hello")); err != nil {
			t.Fatal(err)
		}
		want := []byte("\x00\x02i2\x01d\x01" + zeros[:6] + "\x01\x020123456789abcdefhello")
		got := make([]byte, len(want))
		if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, want) || !authorized {
			t.Errorf("answer is %q, %v, and the claim arrived: %v; want %q", got, err, authorized, want)
		}
	})
}

const zeros = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// memberTLS is the TLS of a client that speaks for n2 in its own words.
func memberTLS(t *testing.T, c *cluster) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{issue(t, c.ca, id("n2")).Certificate},
		NextProtos:   []string{transport.Raft.ALPN()},
	}
}

func TestClaims_BadOnesAreRefused(t *testing.T) {
	for name, claim := range map[string]string{
		"a text that is too long":      "\x81" + strings.Repeat("a", 0x81) + "\x00\x00",
		"a text that no name can have": "\x02\x1b[\x00\x00",
		"too many openings":            "\x00\x00\x11" + strings.Repeat(zeros[:24], 17),
		"openings in no order":         "\x00\x00\x02" + strings.Repeat(zeros[:7]+"\x01"+zeros[:16], 2),
		"an opening without a number":  "\x00\x00\x01" + zeros[:24],
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				c.start(t, "n1", func(cfg *transport.Config) {
					cfg.Authorize = func(transport.Kind, transport.PeerInfo) error {
						t.Error("Authorize was asked")
						return nil
					}
				})
				conn := c.stranger(t, "n1", memberTLS(t, c))
				if _, err := conn.Write([]byte(claim)); err != nil {
					t.Fatal(err)
				}
				if got, _ := io.ReadAll(conn); string(got) != "\x0b\x00" {
					t.Errorf("answer is %q", got)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		echo(c.start(t, "n1"), transport.Raft)
		bad := c.start(t, "n2", claiming(transport.Claim{Disk: "no name"}))
		echo(bad, transport.Raft)
		_, err := bad.Dial(t.Context(), transport.Raft, "n1")
		wantErrors(t, err, transport.ErrBadClaim)
	})
}

// A node that was off until its certificate had expired gets as far as the kinds
// say on which that is taken.
func TestTakeExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		take := func(cfg *transport.Config) { cfg.TakeExpired = []transport.Kind{transport.Join} }
		var peer transport.PeerInfo
		n1 := c.start(t, "n1", take, func(cfg *transport.Config) {
			cfg.Authorize = func(_ transport.Kind, p transport.PeerInfo) error { peer = p; return nil }
		})
		echo(n1, transport.Join)
		short := spoil(t, c.ca, func(cert *x509.Certificate) { cert.NotAfter = time.Now().Add(time.Minute) })
		stale := func(cfg *transport.Config) { cfg.Credentials = short }
		time.Sleep(time.Hour)
		n2 := c.start(t, "n2", take, stale)
		wantEcho(t, dial(t, n2, transport.Join, "n1"))
		if !peer.Expired || peer.Identity != id("n2") {
			t.Errorf("Authorize was asked about %+v", peer)
		}
		_, err := n2.Dial(t.Context(), transport.Raft, "n1")
		wantErrors(t, err, transport.ErrRefused, transport.ErrExpired)

		// The other direction.
		echo(n2, transport.Join)
		if conn := dial(t, n1, transport.Join, "n2"); !conn.Peer().Expired {
			t.Errorf("the dialer knows nothing of it: %+v", conn.Peer())
		}
		_, err = n1.Dial(t.Context(), transport.Raft, "n2")
		wantErrors(t, err, transport.ErrExpired)
	})
}
