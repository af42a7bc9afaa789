package transport_test

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spire-raft/spire-raft/transport"
)

// A node of no authority that the cluster knows gets a Join stream where that is
// allowed, and never another.
func TestDialStranger_OpensJoinStreamsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		var asked []transport.Kind
		var ofA *transport.Bundle
		own := issue(t, newCA(t), id("b"))
		leaf, err := x509.ParseCertificate(own.Certificate.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		ofB := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
		a := c.start(t, "a", func(cfg *transport.Config) {
			cfg.Strangers = true
			ofA = cfg.Credentials.(*transport.Bundle)
			cfg.Authorize = func(kind transport.Kind, peer transport.PeerInfo) error {
				asked = append(asked, kind)
				if peer.Identity != (transport.Identity{}) || peer.Key != ofB {
					t.Errorf("the stranger passes for %v", peer)
				}
				return nil
			}
		})
		closed := c.start(t, "closed")
		echo(a, transport.Join)
		echo(closed, transport.Join)

		stranger := transport.Stranger{
			Network: c.net.Host("b"), Certificate: own.Certificate,
			Trust: func(chain []*x509.Certificate) error {
				if peer, err := transport.ParseIdentity(chain[0]); err != nil || peer.Cluster != "c1" {
					t.Errorf("the peer is %v, %v", peer, err)
				}
				return nil
			},
		}
		conn, err := transport.DialStranger(t.Context(), stranger, "a"+port)
		if err != nil {
			t.Fatal(err)
		}
		wantEcho(t, conn)
		conn.Close()
		if len(asked) != 1 || asked[0] != transport.Join {
			t.Errorf("Authorize was asked for %v", asked)
		}
		_, err = transport.DialStranger(t.Context(), stranger, "closed"+port)
		wantErrors(t, err, transport.ErrRefused, transport.ErrUntrusted)

		// With roots that vouch for a it gets as far as to be refused.
		cfg := c.config(t, "b")
		cfg.Credentials = bothRoots(t, own, ofA)
		b := listen(t, cfg)
		for _, kind := range []transport.Kind{transport.Raft, transport.Peer} {
			_, err := b.Dial(t.Context(), kind, "a")
			wantErrors(t, err, transport.ErrRefused, transport.ErrUntrusted)
		}
	})
}

func TestDialStranger_EndsWhereThePeerIsNotTrusted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start(t, "a", func(cfg *transport.Config) { cfg.Strangers = true })
		echo(a, transport.Join)
		mistrust := errors.New("never heard of it")
		_, err := transport.DialStranger(t.Context(), transport.Stranger{
			Network: c.net.Host("b"), Certificate: issue(t, c.ca, id("b")).Certificate,
			Trust: func([]*x509.Certificate) error { return mistrust },
		}, "a"+port)
		wantErrors(t, err, mistrust)
	})
}

// Whoever holds all the streams that strangers may have keeps no node out, and
// ends no request that is just being made.
func TestStrangers_MakeRoomForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start(t, "a", func(cfg *transport.Config) { cfg.Strangers, cfg.ConnsPerPeerMax = true, 4 })
		echo(a, transport.Join)
		open := func(host string) (net.Conn, error) {
			conn, err := transport.DialStranger(t.Context(), transport.Stranger{
				Network: c.net.Host(host), Certificate: issue(t, newCA(t), id(host)).Certificate,
				Trust: func([]*x509.Certificate) error { return nil },
			}, "a"+port)
			if err == nil {
				t.Cleanup(func() { conn.Close() })
			}
			return conn, err
		}
		mustOpen := func(host string) net.Conn {
			t.Helper()
			conn, err := open(host)
			if err != nil {
				t.Fatal(err)
			}
			return conn
		}
		var greedy []net.Conn
		for range 4 {
			greedy = append(greedy, mustOpen("greedy"))
		}
		_, err := open("greedy")
		wantErrors(t, err, transport.ErrBusy)

		b := mustOpen("b") // instead of greedy's first
		wantEnd(t, greedy[0])
		wantEcho(t, greedy[1])
		c1 := mustOpen("c") // instead of its second
		mustOpen("d")       // of its third
		_, err = open("e")  // all four have one, and have only begun
		wantErrors(t, err, transport.ErrBusy)
		wantEcho(t, b)
		time.Sleep(3 * time.Second)
		mustOpen("e")
		wantEcho(t, c1)
		wantEnd(t, greedy[3])
	})
}

// A stranger that goes on to say something has its stream no longer than one
// that asks once.
func TestStrangers_HaveABoundedLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start(t, "a", func(cfg *transport.Config) { cfg.Strangers = true })
		echo(a, transport.Join)
		conn, err := transport.DialStranger(t.Context(), transport.Stranger{
			Network: c.net.Host("b"), Certificate: issue(t, newCA(t), id("b")).Certificate,
			Trust: func([]*x509.Certificate) error { return nil },
		}, "a"+port)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for range 3 {
			time.Sleep(3 * time.Second)
			wantEcho(t, conn)
		}
		time.Sleep(2 * time.Second)
		wantEnd(t, conn)
	})
}
