package raftstore_test

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/transport"
	"github.com/spire-raft/spire-raft/transport/rpc"
)

const methodWord = 16

// TestWord_AwayWhileAllOthersWereReplaced: a node comes back to a cluster of which
// it knows nobody, and takes it on the word that the cluster's authority has
// signed.
func TestWord_AwayWhileAllOthersWereReplaced(t *testing.T) {
	t.Parallel()
	var audit auditLines
	c := startCluster(t, 3, func(cfg *raftstore.Config) {
		ownAuthority(cfg)
		audit.take(cfg)
	})
	const away = 2
	cfg := c.configs[away]
	cfg.Join, cfg.ListenAddress = nil, c.nodes[away].Addr().String()
	must(t, c.nodes[away].Close())
	for i, gone := range []string{"node-1", "node-2"} {
		newcomer := c.config(fmt.Sprintf("node-%d", 4+i))
		through := c.nodes[c.leaderOf(away)]
		token, err := through.CreateJoinToken(c.ctx(), time.Hour)
		must(t, err)
		newcomer.Join = &raftstore.JoinConfig{Addresses: []string{through.Addr().String()}, Token: token}
		n := c.open(newcomer)
		c.eventually("it votes", func() error {
			if r := n.Status().Role; r == raftstore.RoleNonVoter {
				return fmt.Errorf("role %s", r)
			}
			return nil
		})
		must(t, n.RemoveServer(c.ctx(), gone))
		must(t, c.nodes[i].Close())
	}
	_, err := c.nodes[3].Put(c.ctx(), store.Pair{Key: []byte("k"), Value: []byte("v")})
	must(t, err)

	back := c.mustOpen(cfg)
	pairs, _, err := back.Get(c.ctx(), store.Linearizable(), store.Key([]byte("k")))
	must(t, err)
	if len(pairs) != 1 || string(pairs[0].Value) != "v" {
		t.Errorf("it reads %v", pairs)
	}
	if lines := audit.of("word_taken", ""); len(lines) == 0 || lines[0]["node"] != "node-3" || lines[0]["key"] == "" {
		t.Errorf("lines about the word: %v", lines)
	}
	_, err = back.Put(c.ctx(), store.Pair{Key: []byte("k"), Value: []byte("w")})
	must(t, err)
}

// leaderOf is the leader among the nodes that are open, all but one and those that
// were removed.
func (c *cluster) leaderOf(down int) (place int) {
	c.tb.Helper()
	c.eventually("there is a leader", func() error {
		place = slices.IndexFunc(c.nodes, func(n *raftstore.Node) bool { return n.Status().Role == raftstore.RoleLeader })
		if place < 0 || place == down {
			return errors.New("none")
		}
		return nil
	})
	return place
}

// TestWord_CountsForNobodyElse: what a node that reaches nobody does not take for
// the cluster's word, and that it takes none while somebody whom it knows answers.
func TestWord_CountsForNobodyElse(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, ownAuthority)
	alone, known := c.nodes[1], c.nodes[0]
	known.Put(c.ctx(), store.Pair{Key: []byte("k")})
	other := startCluster(t, 1, ownAuthority)
	stranger, key := c.forged("node-7")
	index := alone.Status().LastLogIndex + 100
	instance := alone.Claim().Instance
	good := peerv1.Word{
		Cluster: clusterID, Instance: instance, NodeId: "node-7", Key: key, ConfigurationIndex: index, UnixSeconds: time.Now().Unix(),
	}
	// show has the word signed by the authority of a node's cluster, and shows it
	// when nobody has answered for long.
	show := func(signer *raftstore.Node, change func(*peerv1.Word)) error {
		w := &peerv1.Word{
			Cluster: good.Cluster, Instance: good.Instance, NodeId: good.NodeId, Key: good.Key,
			ConfigurationIndex: good.ConfigurationIndex, UnixSeconds: good.UnixSeconds,
		}
		change(w)
		req, err := signer.SignWord(w)
		must(t, err)
		return c.ask(stranger, transport.Join, "node-2", methodWord, req, &peerv1.WordResponse{})
	}
	knock := func() error {
		conn, err := stranger.Dial(c.ctx(), transport.Peer, "node-2")
		if err == nil {
			conn.Close()
		}
		return err
	}
	asIs := func(*peerv1.Word) {}
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if err := show(alone, asIs); err == nil || knock() == nil {
			t.Fatal("it counts while a server that is known answers")
		}
	}
	must(t, known.Close())
	until := time.Now().Add(waitMax)
	for knock() == nil || !strings.Contains(fmt.Sprint(show(other.nodes[0], asIs)), "signed") {
		if time.Now().After(until) {
			t.Fatal("no word is looked at")
		}
		time.Sleep(200 * time.Millisecond)
	}
	for name, change := range map[string]func(*peerv1.Word){
		"another node":             func(w *peerv1.Word) { w.NodeId = "node-8" },
		"another key":              func(w *peerv1.Word) { w.Key = make([]byte, 32) },
		"another instance":         func(w *peerv1.Word) { w.Instance = strings.Repeat("0", len(instance)) },
		"another cluster":          func(w *peerv1.Word) { w.Cluster = "other" },
		"an hour ago":              func(w *peerv1.Word) { w.UnixSeconds -= 3600 },
		"in an hour":               func(w *peerv1.Word) { w.UnixSeconds += 3600 },
		"an earlier configuration": func(w *peerv1.Word) { w.ConfigurationIndex = 1 },
	} {
		var refusal *rpc.Error
		if err := show(alone, change); !errors.As(err, &refusal) || refusal.Code != 7 || knock() == nil {
			t.Errorf("a word about %s: %v", name, err)
		}
	}
	must(t, show(alone, asIs))
	must(t, knock())
}

// forged returns a transport with a certificate that the cluster's authority has
// signed for a node which was never admitted, and the hash of its key: what a
// member would have that this cluster's nodes don't know yet.
func (c *cluster) forged(node string) (*transport.Transport, []byte) {
	c.tb.Helper()
	credentials, err := c.nodes[0].Forge(c.tb.TempDir(), node)
	must(c.tb, err)
	bundle, err := credentials.Load()
	must(c.tb, err)
	tr := c.posing(credentials, transport.Claim{Instance: c.nodes[0].Claim().Instance, Disk: "d"})
	return tr, keyOf(c.tb, bundle)
}

func keyOf(tb testing.TB, b *transport.Bundle) []byte {
	tb.Helper()
	leaf, err := x509.ParseCertificate(b.Certificate.Certificate[0])
	must(tb, err)
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	return sum[:]
}
