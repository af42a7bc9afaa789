package raftstore_test

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"testing"

	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/raftstore/internal/sealedfile"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/transport"
)

const methodProbe = 3

// addressBook is what a node has in its file.
func addressBook(tb testing.TB, cfg raftstore.Config) map[string]string {
	tb.Helper()
	var doc struct {
		Format    int               `json:"format"`
		Addresses map[string]string `json:"addresses"`
	}
	if err := sealedfile.Read(filepath.Join(cfg.Dir, "addresses.json"), &doc); err != nil {
		tb.Fatal(err)
	}
	return doc.Addresses
}

// TestAddresses_FalseOnesTakeNobodyAway: a member tells everybody false addresses
// of all members and of nodes that don't exist. The cluster goes on, and comes
// back when all of it is started again.
func TestAddresses_FalseOnesTakeNobodyAway(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, nil)
	for i, n := range c.nodes {
		c.configs[i].ListenAddress = n.Addr().String()
		c.configs[i].Bootstrap, c.configs[i].Join = false, nil
	}
	liar := c.admitted("liar")
	lies := []*peerv1.Member{{NodeId: "liar", Address: "127.0.0.1:1"}}
	for i := range 50 { // each would be written to the disk
		lies = append(lies, &peerv1.Member{NodeId: "liar", Address: fmt.Sprintf("127.0.0.1:%d", 2+i)})
	}
	for i := range 3 {
		lies = append(lies, &peerv1.Member{NodeId: fmt.Sprintf("node-%d", i+1), Address: liar.Addr().String()})
	}
	for i := range 200 {
		lies = append(lies, &peerv1.Member{NodeId: fmt.Sprintf("invented-%d", i), Address: "127.0.0.1:1"})
	}
	for i, n := range c.nodes {
		err := c.ask(liar, transport.Peer, fmt.Sprintf("node-%d", i+1), methodProbe, &peerv1.ProbeRequest{Members: lies}, &peerv1.ProbeResponse{})
		if err != nil {
			t.Errorf("%s: %v", n.Status().NodeID, err)
		}
	}
	for i := range c.nodes {
		must(t, c.nodes[i].Close())
		if book := addressBook(t, c.configs[i]); len(book) > 3 || book["liar"] != "127.0.0.1:1" {
			t.Errorf("node-%d remembers %v", i+1, book)
		}
	}
	for i := range c.nodes {
		c.nodes[i] = c.mustOpen(c.configs[i])
	}
	if _, err := c.nodes[0].Put(c.ctx(), store.Pair{Key: []byte("k")}); err != nil {
		t.Error(err)
	}
}

// TestAddresses_HearsayIsLookedInto: a node that doesn't know where another is
// hears it from a third, while there is no leader. It believes that only where
// the other one answers.
func TestAddresses_HearsayIsLookedInto(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, nil)
	liar := c.admitted("liar")
	for i, n := range c.nodes {
		c.configs[i].ListenAddress = n.Addr().String()
		c.configs[i].Bootstrap, c.configs[i].Join = false, nil
		must(t, n.Close())
	}
	for _, cfg := range c.configs {
		book := map[string]any{"format": 1, "addresses": map[string]string{"node-3": c.configs[2].ListenAddress}}
		must(t, sealedfile.Write(filepath.Join(cfg.Dir, "addresses.json"), book))
	}
	c.nodes[0] = c.mustOpen(c.configs[0])
	tell := func(address string) {
		t.Helper()
		told := &peerv1.ProbeRequest{Members: []*peerv1.Member{{NodeId: "node-2", Address: address}}}
		must(t, c.ask(liar, transport.Peer, "node-1", methodProbe, told, &peerv1.ProbeResponse{}))
	}
	where := func() string {
		for _, p := range c.nodes[0].Status().Peers {
			if p.NodeID == "node-2" {
				return p.Address
			}
		}
		return "out of the cluster"
	}
	asked := make(chan error, 1)
	go func() { // the liar waits until node-1 has seen who it is
		conn, err := liar.Listener(transport.Join).Accept()
		if err == nil {
			_, err = conn.Read(make([]byte, 1))
		}
		asked <- err
	}()
	tell("127.0.0.1:1")
	if at := where(); at != "" {
		t.Errorf("node-1 believes that node-2 is at %s, where nobody is", at)
	}
	c.eventually("node-1 looks whether node-2 is where the liar is", func() error {
		tell(liar.Addr().String())
		select {
		case err := <-asked:
			if err != io.EOF {
				t.Errorf("it asks: %v", err)
			}
			return nil
		default:
			return errors.New("it does not")
		}
	})
	if at := where(); at != "" {
		t.Errorf("node-1 believes that node-2 is at %s, where the liar is", at)
	}
	c.nodes[1] = c.mustOpen(c.configs[1]) // which doesn't know where node-1 is
	c.eventually("node-1 knows where node-2 is", func() error {
		tell(c.nodes[1].Addr().String())
		if at := where(); at != c.nodes[1].Addr().String() {
			return fmt.Errorf("it is %q to it", at)
		}
		return nil
	})
}

// TestAddresses_TwoOfThreeMoved: two servers come back at new addresses, one
// after the other, and each only finds the third. It knows where both are.
func TestAddresses_TwoOfThreeMoved(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, nil)
	for i := range c.configs {
		c.configs[i].Bootstrap, c.configs[i].Join = false, nil
	}
	must(t, c.nodes[2].Close())
	must(t, c.nodes[0].Close())
	c.nodes[0] = c.mustOpen(c.configs[0]) // on another port, as node-3 below
	c.eventually("node-1 leads", func() error {
		if c.nodes[0].Status().Role == raftstore.RoleLeader {
			return nil
		}
		return errors.Join(c.nodes[1].TransferLeadership(c.ctx()), errors.New("it does not"))
	})
	c.nodes[2] = c.mustOpen(c.configs[2])
	if _, err := c.nodes[2].Put(c.ctx(), store.Pair{Key: []byte("k")}); err != nil {
		t.Errorf("the one that moved last writes: %v", err)
	}
}

// TestAddresses_OfReplacedServersAreForgotten: as many servers were replaced as
// the book has places. The next one is found all the same.
func TestAddresses_OfReplacedServersAreForgotten(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, nil)
	must(t, c.nodes[0].Close())
	replaced := map[string]string{}
	for i := range 1024 {
		replaced[fmt.Sprintf("pod-%d", i)] = fmt.Sprintf("127.0.0.1:%d", i+1)
	}
	must(t, sealedfile.Write(filepath.Join(c.configs[0].Dir, "addresses.json"), map[string]any{"format": 1, "addresses": replaced}))
	c.configs[0].Bootstrap = false
	c.nodes[0] = c.mustOpen(c.configs[0])
	c.grow(2)
	if book := addressBook(t, c.configs[0]); len(book) != 1 {
		t.Errorf("it remembers %d addresses", len(book))
	}
}
