package raftstore_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/transport"
)

// ownAuthority makes a cluster its own authority.
func ownAuthority(cfg *raftstore.Config) { cfg.Credentials = nil }

func (c *cluster) joinWith(node, token string) raftstore.Config {
	c.tb.Helper()
	cfg := c.config(node)
	cfg.Join = &raftstore.JoinConfig{Addresses: []string{c.nodes[0].Addr().String()}, Token: token}
	return cfg
}

func TestOwnAuthority_ClusterFormsAndComesBack(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, ownAuthority)
	_, err := c.nodes[1].Put(c.ctx(), store.Pair{Key: []byte("a"), Value: []byte("1")})
	must(t, err)
	c.converged()
	for i, n := range c.nodes {
		c.configs[i].ListenAddress = n.Addr().String()
		must(t, n.Close())
		info, err := os.Stat(filepath.Join(c.configs[i].Dir, "credentials.json"))
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("the credentials have mode %v", info.Mode())
		}
	}
	for i, cfg := range c.configs {
		cfg.Join, cfg.Bootstrap = nil, false
		c.nodes[i] = c.mustOpen(cfg)
	}
	pairs, _, err := c.nodes[2].Get(c.ctx(), store.Linearizable(), store.Key([]byte("a")))
	must(t, err)
	if len(pairs) != 1 || string(pairs[0].Value) != "1" {
		t.Errorf("after a restart the cluster has %v", pairs)
	}
	// The authority's key is in the state alone by now.
	founder, err := os.ReadFile(filepath.Join(c.configs[0].Dir, "credentials.json"))
	must(t, err)
	if strings.Contains(string(founder), "founding") {
		t.Error("the first node still keeps the authority's key in its credentials")
	}
}

func TestOwnAuthority_TokensAdmitOneNode(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, ownAuthority)
	bound, err := c.nodes[0].CreateJoinTokenFor(c.ctx(), "node-2", time.Hour)
	must(t, err)
	c.openFails(c.joinWith("thief", bound), raftstore.ErrToken, "another node")
	c.open(c.joinWith("node-2", bound))
	c.openFails(c.joinWith("node-3", bound), raftstore.ErrToken, "another node")

	// Without its disk a node is nobody, whatever its name.
	elsewhere := &cluster{tb: t, ca: c.ca, dir: dataDir(t), address: c.address, adjust: c.adjust, nodes: c.nodes}
	wiped := elsewhere.joinWith("node-2", c.token())
	c.openFails(wiped, raftstore.ErrAlreadyMember, "remove it first")

	files := c.joinWith("node-4", c.token())
	files.Credentials = c.credentials(clusterID, "node-4")
	c.openFails(files, transport.ErrUntrusted)
	if n := len(c.nodes[0].Status().Peers); n != 1 {
		t.Errorf("the cluster has %d peers, want node-2 alone", n)
	}
}

func TestOwnAuthority_RefusesTokenOfAnotherClusterOfTheName(t *testing.T) {
	t.Parallel()
	c, other := startCluster(t, 1, ownAuthority), startCluster(t, 1, ownAuthority)
	c.openFails(c.joinWith("node-2", other.token()), transport.ErrUntrusted, "authority")
}

func TestJoinTokens_AreListedAndRevoked(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, ownAuthority)
	token, err := c.nodes[1].CreateJoinTokenFor(c.ctx(), "node-3", time.Hour)
	must(t, err)
	tokens, err := c.nodes[1].ListJoinTokens(c.ctx())
	must(t, err)
	var unused []raftstore.JoinToken
	for _, tk := range tokens {
		if tk.UsedBy == "" {
			unused = append(unused, tk)
		} else if tk.UsedBy != "node-2" {
			t.Errorf("a token was used by %q", tk.UsedBy)
		}
	}
	if len(tokens) != 2 || len(unused) != 1 || unused[0].NodeID != "node-3" || time.Until(unused[0].Expires) > time.Hour {
		t.Fatalf("tokens %+v", tokens)
	}
	if strings.Contains(token, unused[0].ID) {
		t.Error("the id is part of the token")
	}
	must(t, c.nodes[1].RevokeJoinToken(c.ctx(), unused[0].ID))
	c.openFails(c.joinWith("node-3", token), raftstore.ErrToken, "unknown")
	for _, id := range []string{unused[0].ID, "nonsense"} {
		if err := c.nodes[1].RevokeJoinToken(c.ctx(), id); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("revoke token %s that is not there: %v", id, err)
		}
	}
}

// A stranger at the address, whatever certificate it shows, gets no secret.
func TestJoin_SendsTokenToThePinnedAuthorityOnly(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, ownAuthority)
	fake, received := listenAsNode(t, c)
	cfg := c.joinWith("node-2", c.token())
	cfg.Join.Addresses = []string{fake}
	c.openFails(cfg, transport.ErrUntrusted, "pins")
	if n := <-received; n > 0 {
		t.Errorf("the stranger has received %d bytes", n)
	}
}

// listenAsNode takes one connection as a node with another authority would, and
// then tells how many bytes it has received inside of TLS.
func listenAsNode(t *testing.T, c *cluster) (address string, received <-chan int) {
	t.Helper()
	b, err := c.ca.Issue(transport.Identity{TrustDomain: clusterID + ".raft.internal", Cluster: clusterID, Node: "node-1"}, time.Hour)
	must(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	n := make(chan int, 1)
	go func() {
		raw, err := l.Accept()
		if err != nil {
			return
		}
		defer raw.Close()
		conn := tls.Server(raw, &tls.Config{
			Certificates: []tls.Certificate{b.Certificate}, ClientAuth: tls.RequireAnyClientCert,
			NextProtos: []string{transport.Join.ALPN()},
		})
		_, _ = conn.Write([]byte{0}) // welcome; the handshake fails
		data, _ := io.ReadAll(conn)  // until the other side hangs up
		n <- len(data)
	}()
	return l.Addr().String(), n
}

func TestJoin_BadTokensAreLimitedAndCostNothing(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, ownAuthority)
	good := c.token()
	pin := strings.Split(good, "/")[2]
	bad := strings.Join([]string{"v2", clusterID, pin, strings.Repeat("A", 43)}, "/")
	before := c.nodes[0].Status().LastLogIndex
	for range 10 {
		c.openFails(c.joinWith("node-2", bad), raftstore.ErrToken, "unknown")
	}
	if after := c.nodes[0].Status().LastLogIndex; after-before >= 10 { // one or two are the cluster's own
		t.Errorf("ten bad tokens have written %d log entries", after-before)
	}
	ctx, cancel := context.WithCancel(c.ctx())
	defer cancel()
	cfg := c.joinWith("node-2", good)
	cfg.Logger = slog.New(slog.NewTextHandler(untilText{"too many joins", cancel}, nil))
	if n, err := raftstore.Open(ctx, cfg); !errors.Is(err, context.Canceled) {
		if err == nil {
			n.Close()
		}
		t.Errorf("whoever has shown ten bad tokens is not told to wait: %v", err)
	}
}

// untilText calls a function when a log has a text.
type untilText struct {
	text string
	then func()
}

func (u untilText) Write(line []byte) (int, error) {
	if strings.Contains(string(line), u.text) {
		u.then()
	}
	return len(line), nil
}

func TestOwnAuthority_CertificatesAreRenewed(t *testing.T) {
	t.Parallel()
	const life = 6 * time.Second
	c := startCluster(t, 2, func(cfg *raftstore.Config) {
		ownAuthority(cfg)
		cfg.CertificateLifetime = life
	})
	first := make([]time.Time, len(c.nodes))
	for i, n := range c.nodes {
		first[i] = raftstore.CertificateEnd(n)
	}
	c.eventually("both nodes have new certificates", func() error {
		for i, n := range c.nodes {
			if !raftstore.CertificateEnd(n).After(first[i]) {
				return errors.New(n.Status().NodeID + " has its first certificate")
			}
		}
		return nil
	})
	// New streams are opened with them.
	must(t, c.nodes[1].Close())
	cfg := c.configs[1]
	cfg.Join = nil
	c.nodes[1] = c.mustOpen(cfg)
	_, err := c.nodes[1].Put(c.ctx(), store.Pair{Key: []byte("a")})
	must(t, err)
}

// All nodes may have been off for longer than their certificates live.
func TestOwnAuthority_ColdStartWithExpiredCertificates(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, func(cfg *raftstore.Config) {
		ownAuthority(cfg)
		cfg.CertificateLifetime = 3 * time.Second
	})
	for i, n := range c.nodes {
		c.configs[i].ListenAddress = n.Addr().String()
		must(t, n.Close())
	}
	c.eventually("all certificates have expired", func() error {
		for _, n := range c.nodes {
			if end := raftstore.CertificateEnd(n); time.Now().Before(end) {
				return fmt.Errorf("one is valid until %v", end)
			}
		}
		return nil
	})
	for i, cfg := range c.configs {
		cfg.Join, cfg.Bootstrap = nil, false
		cfg.CertificateLifetime = time.Hour
		c.nodes[i] = c.mustOpen(cfg)
	}
	c.eventually("all certificates are renewed", func() error {
		for _, n := range c.nodes {
			if end := raftstore.CertificateEnd(n); time.Until(end) < time.Minute {
				return fmt.Errorf("one is valid until %v", end)
			}
		}
		return nil
	})
	_, err := c.nodes[1].Put(c.ctx(), store.Pair{Key: []byte("a")})
	must(t, err)
}

// TestOwnAuthority_AStolenAuthorityMakesNoMember signs a certificate for a member
// with the cluster's own authority, as a thief of its key could: the key in it is
// not the one that the member was admitted with.
func TestOwnAuthority_AStolenAuthorityMakesNoMember(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, ownAuthority)
	c.converged()
	forged, err := c.nodes[0].Forge(t.TempDir(), "node-2")
	must(t, err)
	thief := c.posing(forged, c.nodes[1].Claim())
	for _, kind := range []transport.Kind{transport.Raft, transport.Peer} {
		if _, err := thief.Dial(c.ctx(), kind, "node-1"); !errors.Is(err, transport.ErrNotAuthorized) || !strings.Contains(err.Error(), "another key") {
			t.Errorf("a %s stream of a forged node-2: %v, want %v", kind, err, transport.ErrNotAuthorized)
		}
	}
}

// TestJoin_StrangersAreNotToldWhoLeads: who has no token that the cluster knows
// learns of a follower neither the leader's name nor its address.
func TestJoin_StrangersAreNotToldWhoLeads(t *testing.T) {
	c := startCluster(t, 2, ownAuthority)
	other := startCluster(t, 1, ownAuthority)
	follower := c.nodes[c.follower()].Status().NodeID
	stranger, _ := c.forged("node-7")
	ask := func(token string) (string, error) {
		var resp peerv1.JoinResponse
		err := c.ask(stranger, transport.Join, follower, methodJoin, &peerv1.JoinRequest{Token: token, DiskId: "d", NodeId: "node-7"}, &resp)
		return resp.GetLeader().GetNodeId(), err
	}
	for _, bad := range []string{"", "nonsense", other.token()} {
		if leader, err := ask(bad); err == nil {
			t.Errorf("who shows the token %.10q is told that %q leads", bad, leader)
		}
	}
	token := c.token()
	c.eventually("the follower knows the token", func() error {
		leader, err := ask(token)
		if err == nil && leader == "" {
			return errors.New("no leader is named")
		}
		return err
	})
}
