package raftstore_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/raftstore/internal/authority"
	"github.com/spire-raft/spire-raft/transport"
	"github.com/spire-raft/spire-raft/transport/rpc"
)

// diskShown is the disk of a node as its certificate tells everybody.
func diskShown(t *testing.T, n *raftstore.Node) string {
	t.Helper()
	conn, err := tls.Dial("tcp", n.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{transport.Join.ALPN()}})
	must(t, err)
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].Subject.SerialNumber
}

// joinAs asks the node to at to be taken in, with a new key.
func (c *cluster) joinAs(node, disk, token string, at *raftstore.Node) error {
	c.tb.Helper()
	id := transport.Identity{TrustDomain: authority.TrustDomain(clusterID), Cluster: clusterID, Node: node}
	credentials, err := authority.New(c.tb.TempDir(), id, time.Hour)
	must(c.tb, err)
	request, err := credentials.Request()
	must(c.tb, err)
	bundle, err := credentials.Load()
	must(c.tb, err)
	anybody := func([]*x509.Certificate) error { return nil }
	conn, err := transport.DialStranger(c.ctx(), transport.Stranger{Certificate: bundle.Certificate, Trust: anybody}, at.Addr().String())
	must(c.tb, err)
	client := rpc.NewClient(conn, rpc.Config{})
	defer client.Close()
	body, err := proto.Marshal(&peerv1.JoinRequest{Token: token, Address: "127.0.0.1:9", DiskId: disk, NodeId: node, CertificateRequest: request})
	must(c.tb, err)
	_, err = client.Call(c.ctx(), methodJoin, body)
	return err
}

// TestJoinToken_IsNoMember: neither a token that a member has used, nor one that
// was made for its id since, admits another key in its place. What a stranger has
// to tell besides is the member's disk, which the member shows everybody.
func TestJoinToken_IsNoMember(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, ownAuthority)
	used := c.token()
	victim := c.open(c.joinWith("node-3", used))
	c.eventually("it votes", func() error {
		if r := victim.Status().Role; r != raftstore.RoleFollower {
			return errors.New(string(r))
		}
		return nil
	})
	leader := c.nodes[c.leader()]
	c.eventually("its opening is recorded", func() error {
		if leader.RecordedOpening("node-3") == 0 {
			return errors.New("it is not")
		}
		return nil
	})
	bound, err := c.nodes[1].CreateJoinTokenFor(c.ctx(), "node-3", time.Hour)
	must(t, err)
	for what, token := range map[string]string{"used": used, "bound": bound, "fresh": c.token()} {
		if err := c.joinAs("node-3", diskShown(t, victim), token, leader); err == nil {
			t.Errorf("a stranger with a %s token is node-3", what)
		}
	}
	c.converged()
}

// TestJoinToken_GoesWithTheRemovalOfItsMaker: a member that is removed comes back
// by no token that it has made before, under whatever name.
func TestJoinToken_GoesWithTheRemovalOfItsMaker(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, ownAuthority)
	maker := 2
	if c.leader() == maker {
		maker = 1 // a follower, which asks the leader for it
	}
	token, err := c.nodes[maker].CreateJoinToken(c.ctx(), time.Hour)
	must(t, err)
	id := c.nodes[maker].Status().NodeID
	made := func() (count int) {
		tokens, err := c.nodes[0].ListJoinTokens(c.ctx())
		must(t, err)
		for _, tk := range tokens {
			if tk.MadeBy == id {
				count++
			}
		}
		return count
	}
	if n := made(); n != 1 {
		t.Errorf("%d tokens that %s has made, want 1", n, id)
	}
	must(t, c.nodes[0].RemoveServer(c.ctx(), id))
	if n := made(); n != 0 {
		t.Errorf("%d tokens of %s after its removal", n, id)
	}
	c.openFails(c.joinWith("node-9", token), raftstore.ErrToken, "unknown")
}
