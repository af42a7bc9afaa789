package raftstore_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/transport"
	"github.com/spire-raft/spire-raft/transport/devca"
)

// otherCluster is the id of a cluster that nodes of clusterID must not meet.
const otherCluster = "other"

// badCredentials are those that node-1 of clusterID must not have, and what
// Open says.
var badCredentials = map[string]struct {
	make     func(t *testing.T, c *cluster) transport.Credentials
	want     error
	mentions []string
}{
	"of another cluster": {
		func(_ *testing.T, c *cluster) transport.Credentials { return c.credentials(otherCluster, "node-1") },
		transport.ErrOtherCluster,
		[]string{"/spire/raft/" + otherCluster + "/node-1", "/spire/raft/" + clusterID + "/node-1", "use the certificate that was issued to this node"},
	},
	"of another node": {
		func(_ *testing.T, c *cluster) transport.Credentials { return c.credentials(clusterID, "node-2") },
		transport.ErrWrongNode,
		[]string{"/node-2", "/node-1", "use the certificate that was issued to this node"},
	},
	"that have expired": {
		func(t *testing.T, c *cluster) transport.Credentials { return expired(t, c.ca, ownIdentity) },
		transport.ErrExpired,
		[]string{"valid from", "renew it, or set the clock right"},
	},
	"of another authority": {
		func(t *testing.T, c *cluster) transport.Credentials { return mixed(t, newCA(t), c.ca, ownIdentity) },
		transport.ErrUntrusted,
		[]string{"use a certificate", "that one of the configured roots has issued"},
	},
}

var ownIdentity = transport.Identity{TrustDomain: trustDomain, Cluster: clusterID, Node: "node-1"}

func TestOpen_RefusesCredentials(t *testing.T) {
	t.Parallel()
	for name, tc := range badCredentials {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			cfg := c.config("node-1")
			cfg.Bootstrap = true
			cfg.Credentials = tc.make(t, c)
			c.openFails(cfg, tc.want, tc.mentions...)
		})
		t.Run(name+", on a directory with data", func(t *testing.T) {
			c, cfg := stopped(t)
			cfg.Credentials = tc.make(t, c)
			c.openFails(cfg, tc.want, tc.mentions...)
		})
	}
}

func newCA(t *testing.T) *devca.CA {
	t.Helper()
	ca, err := devca.New(time.Hour)
	must(t, err)
	return ca
}

// expired are credentials that were valid until a minute ago.
func expired(t *testing.T, ca *devca.CA, id transport.Identity) transport.Credentials {
	t.Helper()
	template := devca.Template(id, time.Hour)
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = time.Now().Add(-time.Minute)
	b, err := ca.Sign(template)
	must(t, err)
	return b
}

// mixed is a certificate of one authority with the roots of another.
func mixed(t *testing.T, issuer, roots *devca.CA, id transport.Identity) transport.Credentials {
	t.Helper()
	b, err := issuer.Issue(id, time.Hour)
	must(t, err)
	return &transport.Bundle{Certificate: b.Certificate, Roots: roots.Roots()}
}

func TestOpen_RefusesNodeWithoutCluster(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.openFails(c.config("node-1"), raftstore.ErrNotMember, "Bootstrap", "Join")
}

func TestInit_RefusesDirectoryOfAnotherClusterOrNode(t *testing.T) {
	t.Parallel()
	_, cfg := stopped(t)
	before := filesOf(t, cfg.Dir)
	for _, ids := range [][2]string{{otherCluster, "node-1"}, {clusterID, "node-2"}} {
		_, err := raftstore.Init(cfg.Dir, ids[0], ids[1])
		if !errors.Is(err, raftstore.ErrMismatch) {
			t.Errorf("Init for node %s of cluster %s: %v", ids[1], ids[0], err)
			continue
		}
		for _, m := range []string{`"` + ids[0] + `"`, `"` + ids[1] + `"`, "use another directory, or those ids"} {
			if !strings.Contains(err.Error(), m) {
				t.Errorf("error %q does not mention %q", err, m)
			}
		}
	}
	if id, err := raftstore.Init(cfg.Dir, clusterID, "node-1"); err != nil || id.NodeID != "node-1" {
		t.Errorf("Init with the same identity: %v, %v", id, err)
	}
	wantFiles(t, cfg.Dir, before)
}

func TestBootstrap_AgainIsANoOp(t *testing.T) {
	t.Parallel()
	c, cfg := stopped(t)
	cfg.Bootstrap = true
	n := c.mustOpen(cfg)
	kvs, _, err := n.Get(c.ctx(), store.Linearizable(), store.Key([]byte("k")))
	if err != nil || len(kvs) != 1 {
		t.Errorf("after the second bootstrap: %d pairs, %v", len(kvs), err)
	}
}

// TestBootstrap_NeedsNoTimeout has a timeout that the test could not wait for.
func TestBootstrap_NeedsNoTimeout(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	cfg := c.config("node-1")
	cfg.Bootstrap = true
	cfg.Timing.HeartbeatTimeout = waitMax
	c.mustOpen(cfg)
}

// TestBootstrap_RefusesNodeOfAnotherCluster would start a cluster with a node
// of another one, under the name of either.
func TestBootstrap_RefusesNodeOfAnotherCluster(t *testing.T) {
	t.Parallel()
	c, cfg := stopped(t)
	if _, err := raftstore.Init(cfg.Dir, otherCluster, "node-1"); !errors.Is(err, raftstore.ErrMismatch) {
		t.Errorf("Init: %v", err)
	}
	other := raftstore.Config{
		Dir: cfg.Dir, ListenAddress: "127.0.0.1:0", Bootstrap: true, BootstrapAnyway: true, Logger: cfg.Logger,
		Credentials: c.credentials(otherCluster, "node-1"),
	}
	c.openFails(other, transport.ErrOtherCluster,
		"/spire/raft/"+otherCluster+"/node-1", "/spire/raft/"+clusterID+"/node-1", "use the certificate that was issued to this node")

	n := c.mustOpen(cfg) // it is as it was
	kvs, _, err := n.Get(c.ctx(), store.Linearizable(), store.Key([]byte("k")))
	if err != nil || len(kvs) != 1 {
		t.Errorf("after the refusal: %d pairs, %v", len(kvs), err)
	}
}

// startOther starts a node of another cluster under the authority of c.
func (c *cluster) startOther() *raftstore.Node {
	c.tb.Helper()
	dir := filepath.Join(dataDir(c.tb), "node-1")
	if _, err := raftstore.Init(dir, otherCluster, "node-1"); err != nil {
		c.tb.Fatal(err)
	}
	return c.mustOpen(raftstore.Config{
		Dir: dir, ListenAddress: "127.0.0.1:0", Bootstrap: true, Logger: c.config("unused").Logger,
		Credentials: c.credentials(otherCluster, "node-1"),
	})
}

// madeUp is a token that no cluster has given out.
const madeUp = "v2/" + clusterID + "//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

func TestJoin_Refuses(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, nil)
	join := func(token string, through ...*raftstore.Node) *raftstore.JoinConfig {
		if len(through) == 0 {
			through = c.nodes
		}
		return &raftstore.JoinConfig{Addresses: []string{through[0].Addr().String()}, Token: token}
	}
	used := c.token()
	cfg := c.config("first")
	cfg.Join = join(used)
	c.open(cfg)

	brief, err := c.nodes[0].CreateJoinToken(c.ctx(), 2*time.Millisecond)
	must(t, err)
	otherAuthority := startCluster(t, 1, nil)
	other := c.startOther()
	otherToken, err := other.CreateJoinToken(c.ctx(), time.Hour)
	must(t, err)
	good := c.token()

	for name, tc := range map[string]struct {
		join     *raftstore.JoinConfig
		want     error
		mentions []string
	}{
		"without a token":         {join(""), nil, []string{"Join.Token is empty", "create one"}},
		"with a malformed token":  {join("hello"), raftstore.ErrToken, []string{"v2/<cluster>/<authority>/<secret>", "copy the whole token"}},
		"with a damaged token":    {join(good[:len(good)-4]), raftstore.ErrToken, []string{"copy the whole token"}},
		"with a made-up token":    {join(madeUp), raftstore.ErrToken, []string{"unknown", "make a new one"}},
		"with another's used one": {join(used), raftstore.ErrToken, []string{"used by another node", "make a new one"}},
		"with an expired token":   {join(brief), raftstore.ErrToken, []string{"expired", "make a new one"}},
		"with another cluster's": {
			join(otherToken), raftstore.ErrToken,
			[]string{`it is for cluster "other"`, clusterID, "create one on a node of this cluster"},
		},
		"through a node of another cluster": {
			join(good, other), transport.ErrOtherCluster,
			[]string{other.Addr().String(), "/spire/raft/" + otherCluster + "/node-1", "set Join.Addresses to nodes of cluster " + clusterID},
		},
		"into another cluster": { // with all that this takes but an identity in it
			join(otherToken, other), raftstore.ErrToken,
			[]string{`it is for cluster "other"`},
		},
		"through a node of another authority": {
			join(good, otherAuthority.nodes[0]), transport.ErrUntrusted,
			[]string{otherAuthority.nodes[0].Addr().String(), "let both sides trust"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := &cluster{tb: t, ca: c.ca, dir: dataDir(t), address: c.address, adjust: c.adjust}
			cfg := c.config("joiner")
			cfg.Join = tc.join
			c.openFails(cfg, tc.want, tc.mentions...)
		})
	}
	if n := len(c.nodes[0].Status().Peers); n != 1 {
		t.Errorf("the cluster has %d peers after the refusals, want 1", n)
	}
	if n := len(other.Status().Peers); n != 0 {
		t.Errorf("the other cluster has %d peers after the refusals, want none", n)
	}

	// None of them has used the token.
	cfg = c.config("last")
	cfg.Join = join(good)
	c.open(cfg)
}

func TestJoin_RefusesWipedNode(t *testing.T) {
	t.Parallel()
	// The node at the address has lost its data and waits to be taken in itself.
	c := newCluster(t)
	nowhere, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	nowhere.Close()
	wiped := c.config("wiped")
	wiped.Join = &raftstore.JoinConfig{Addresses: []string{nowhere.Addr().String()}, Token: madeUp}
	listening := make(chan string, 1)
	wiped.Network = announcing{listening}
	ctx, cancel := context.WithCancel(c.ctx())
	opened := make(chan error, 1)
	go func() {
		_, err := raftstore.Open(ctx, wiped)
		opened <- err
	}()

	cfg := c.config("joiner")
	cfg.Join = &raftstore.JoinConfig{Addresses: []string{<-listening}, Token: madeUp}
	c.openFails(cfg, raftstore.ErrNotMember, "wiped", "join through another node")
	cancel()
	if err := <-opened; !errors.Is(err, context.Canceled) {
		t.Errorf("join that was canceled: %v", err)
	}
}

// announcing is TCP that tells the address it listens on.
type announcing struct{ listening chan<- string }

func (announcing) DialContext(ctx context.Context, addr string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
}

func (a announcing) Listen(ctx context.Context, addr string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err == nil {
		a.listening <- l.Addr().String()
	}
	return l, err
}
