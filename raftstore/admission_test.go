package raftstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/spire-raft/spire-raft/fsm"
	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/txn"
	"github.com/spire-raft/spire-raft/transport"
	"github.com/spire-raft/spire-raft/transport/rpc"
)

// Methods of the peer protocol, see docs/FORMATS.md.
const (
	methodPropose = 1
	methodHello   = 7
	methodJoin    = 4
	methodVouch   = 8
)

// intruder returns the transport of a node that runs other software than this,
// with a certificate of the cluster. It lets everybody in.
func (c *cluster) intruder(node string) *transport.Transport {
	c.tb.Helper()
	return c.intruderClaiming(node, transport.Claim{Instance: c.nodes[0].Claim().Instance, Disk: "d"})
}

func (c *cluster) intruderClaiming(node string, claim transport.Claim) *transport.Transport {
	c.tb.Helper()
	return c.posing(c.credentials(clusterID, node), claim)
}

// posing returns the transport of who has the credentials of a node, and claims
// what it likes. It lets everybody in.
func (c *cluster) posing(as transport.Credentials, claim transport.Claim) *transport.Transport {
	c.tb.Helper()
	bundle, err := as.Load()
	must(c.tb, err)
	id, err := bundle.Identity()
	must(c.tb, err)
	t, err := transport.Listen(c.ctx(), transport.Config{
		ListenAddress: "127.0.0.1:0",
		Identity:      id,
		Credentials:   as,
		Claim:         func() transport.Claim { return claim },
		Authorize:     func(transport.Kind, transport.PeerInfo) error { return nil },
		Resolve: func(_ context.Context, node string) (string, error) {
			i := slices.IndexFunc(c.nodes, func(n *raftstore.Node) bool { return n.Status().NodeID == node })
			return c.nodes[i].Addr().String(), nil
		},
	})
	must(c.tb, err)
	c.tb.Cleanup(func() { t.Close() })
	return t
}

// ask makes one call to a node over a stream of the kind.
func (c *cluster) ask(t *transport.Transport, kind transport.Kind, node string, method uint8, req, resp proto.Message) error {
	c.tb.Helper()
	conn, err := t.Dial(c.ctx(), kind, node)
	if err != nil {
		return err
	}
	client := rpc.NewClient(conn, rpc.Config{})
	defer client.Close()
	body, err := proto.Marshal(req)
	if err != nil {
		return err
	}
	answer, err := client.Call(c.ctx(), method, body)
	if err != nil {
		return err
	}
	return proto.Unmarshal(answer, resp)
}

// admitted takes an intruder in, so that it is a member whom nobody can reach.
func (c *cluster) admitted(node string) *transport.Transport {
	c.tb.Helper()
	t := c.intruder(node)
	leader := c.nodes[c.leader()].Status().NodeID
	if err := c.ask(t, transport.Join, leader, methodJoin, &peerv1.JoinRequest{Token: c.token(), DiskId: "d"}, &peerv1.JoinResponse{}); err != nil {
		c.tb.Fatalf("join: %v", err)
	}
	c.eventually("all know the member", func() error {
		for _, n := range c.nodes {
			if !slices.ContainsFunc(n.Status().Peers, func(p raftstore.Peer) bool { return p.NodeID == node }) {
				return fmt.Errorf("%s does not", n.Status().NodeID)
			}
		}
		return nil
	})
	return t
}

// TestAdmission_StrangersAreRefused: a certificate of the cluster alone opens no
// stream on which anything is believed, and asking again doesn't help.
func TestAdmission_StrangersAreRefused(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, nil)
	evil := c.intruder("evil")
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for range 3 {
		for _, n := range c.nodes {
			for _, kind := range []transport.Kind{transport.Raft, transport.Peer} {
				conn, err := evil.Dial(c.ctx(), kind, n.Status().NodeID)
				if !errors.Is(err, transport.ErrNotAuthorized) {
					t.Errorf("a %s stream to %s: got %v, want %v", kind, n.Status().NodeID, err, transport.ErrNotAuthorized)
				}
				if err == nil {
					conn.Close()
				}
			}
		}
		<-again.C
	}
}

// TestAdmission_RemovalCutsStreams: a member whose address nobody knows is
// removed. Its open streams end at once, whatever it does with them.
func TestAdmission_RemovalCutsStreams(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, nil)
	evil := c.admitted("evil")
	var open []net.Conn
	for _, n := range c.nodes {
		for _, kind := range []transport.Kind{transport.Raft, transport.Peer} {
			conn, err := evil.Dial(c.ctx(), kind, n.Status().NodeID)
			must(t, err)
			defer conn.Close()
			open = append(open, conn)
		}
	}
	must(t, c.nodes[0].RemoveServer(c.ctx(), "evil"))
	end := time.Now().Add(time.Second)
	for i, conn := range open {
		must(t, conn.SetReadDeadline(end))
		_, err := conn.Read(make([]byte, 1))
		if late := new(net.Error); errors.As(err, late) && (*late).Timeout() {
			t.Errorf("stream %d is open a second after the removal", i)
		}
	}
	for _, n := range c.nodes {
		if _, err := evil.Dial(c.ctx(), transport.Peer, n.Status().NodeID); !errors.Is(err, transport.ErrNotAuthorized) {
			t.Errorf("a new stream: got %v, want %v", err, transport.ErrNotAuthorized)
		}
	}
}

// TestAdmission_MembersVouch: any member tells another one who is a member, and
// says no of anybody else.
func TestAdmission_MembersVouch(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, nil)
	member := c.admitted("node-9")
	for _, n := range c.nodes {
		for node, want := range map[string]bool{"node-1": true, "node-9": true, "evil": false, "": false} {
			var resp peerv1.VouchResponse
			err := c.ask(member, transport.Peer, n.Status().NodeID, methodVouch, &peerv1.VouchRequest{NodeId: node}, &resp)
			if err != nil || resp.GetMember() != want {
				t.Errorf("%s says of %q: %v, %v; want %v", n.Status().NodeID, node, resp.GetMember(), err, want)
			}
		}
	}
}

// TestPropose_IsForTransactions: what changes the cluster goes through its own
// method, with the checks there, whoever asks. Nor does a member say in whose name
// a command is, or propose for a term that the leader is not in.
func TestPropose_IsForTransactions(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, nil)
	member := c.admitted("node-9")
	led := c.nodes[c.leader()].Status()
	leader := led.NodeID
	now := time.Now()
	in := &txn.Intent{Writes: []txn.Write{{Kind: store.EventPut, Key: []byte("k")}}}
	command, err := fsm.EncodeTransaction(in)
	must(t, err)
	propose := func(command []byte, term, run, request uint64) error {
		req := &peerv1.ProposeRequest{Command: command, Term: term, Run: run, Request: request}
		return c.ask(member, transport.Peer, leader, methodPropose, req, &peerv1.ProposeResponse{})
	}
	for name, command := range map[string][]byte{
		"a removal":        fsm.EncodeRemoveNode("node-1"),
		"a history budget": fsm.EncodeSetHistoryBudget(1),
		"a feature level":  fsm.EncodeRaiseFeatureLevel(fsm.FeatureLevelMax),
		"a join token":     fsm.EncodeAddJoinToken(fsm.TokenHash{1}, "", "", now.Add(100*365*24*time.Hour), now),
		"the use of one":   fsm.EncodeUseJoinToken(fsm.TokenHash{1}, "node-8", "d", fsm.KeyHash{}, now),
		"a term start":     fsm.EncodeTermStart(),
		"an origin":        fsm.WithOrigin(command, fsm.Origin{Session: 1, Request: 1}),
	} {
		err := propose(command, led.Term, 1, 1)
		if refused := new(rpc.Error); !errors.As(err, &refused) || refused.Code != codeInvalid {
			t.Errorf("%s: got %v, want code %d", name, err, codeInvalid)
		}
	}
	for name, c := range map[string]struct {
		term, run, request uint64
		code               uint32
	}{
		"no term":         {0, 1, 1, codeBadRequest},
		"no run":          {led.Term, 0, 1, codeBadRequest},
		"no number":       {led.Term, 1, 0, codeBadRequest},
		"an earlier term": {led.Term - 1, 1, 1, codeNotLeader},
		"a later term":    {math.MaxUint64, 1, 1, codeNotLeader},
	} {
		err := propose(command, c.term, c.run, c.request)
		if refused := new(rpc.Error); !errors.As(err, &refused) || refused.Code != c.code {
			t.Errorf("%s: got %v, want code %d", name, err, c.code)
		}
	}
	must(t, propose(command, led.Term, 1, 1))
}

// TestRequests_AreBoundedBeforeTheyAreDecoded: a probe of empty members takes
// many times its length once it is decoded.
func TestRequests_AreBoundedBeforeTheyAreDecoded(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, nil)
	member := c.admitted("node-9")
	for _, tc := range []struct {
		kind   transport.Kind
		method uint8
		body   int
	}{
		{transport.Peer, methodProbe, 33 << 10},
		{transport.Peer, methodVouch, 5 << 10},
		{transport.Peer, methodPropose, 6 << 20},
		{transport.Join, methodJoin, 33 << 10},
		{transport.Join, methodHello, 5 << 10},
	} {
		conn, err := member.Dial(c.ctx(), tc.kind, "node-1")
		must(t, err)
		client := rpc.NewClient(conn, rpc.Config{})
		defer client.Close()
		body := bytes.Repeat([]byte{0x0a, 0}, tc.body/2) // an empty item of field 1
		_, err = client.Call(c.ctx(), tc.method, body)
		if refused := new(rpc.Error); !errors.As(err, &refused) || refused.Code != codeBadRequest || !strings.Contains(err.Error(), "the limit is") {
			t.Errorf("method %d with %d bytes: got %v, want code %d", tc.method, len(body), err, codeBadRequest)
		}
	}
}
