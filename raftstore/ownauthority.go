package raftstore

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"

	"github.com/spire-raft/spire-raft/fsm"
	peerv1 "github.com/spire-raft/spire-raft/proto/peer/v1"
	"github.com/spire-raft/spire-raft/raftstore/internal/authority"
	"github.com/spire-raft/spire-raft/raftstore/internal/identity"
	"github.com/spire-raft/spire-raft/transport"
)

// findCredentials finds, or makes in memory, the credentials of a node whose
// cluster is its own authority. They are written down when the node may found a
// cluster, or has been taken into one.
func (n *Node) findCredentials(ctx context.Context) (err error) {
	if n.cfg.Credentials != nil {
		return nil
	}
	n.own, err = authority.Open(n.cfg.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		n.own, err = n.makeCredentials(ctx)
	}
	if err != nil {
		return fmt.Errorf("credentials: %w", err)
	}
	n.cfg.Credentials = n.own
	return nil
}

func (n *Node) makeCredentials(ctx context.Context) (*authority.Credentials, error) {
	if _, err := os.Stat(n.logPath()); !errors.Is(err, fs.ErrNotExist) || fsm.Exists(n.cfg.Dir) {
		return nil, fmt.Errorf("%s is lost, but there is data: set Credentials if the certificate comes from elsewhere; else restore the file, or %s",
			authority.FileName, lostCure)
	}
	id := transport.Identity{TrustDomain: authority.TrustDomain(n.id.ClusterID), Cluster: n.id.ClusterID, Node: n.id.NodeID}
	if !n.cfg.Bootstrap {
		return authority.New(n.cfg.Dir, id, n.cfg.CertificateLifetime)
	}
	instance := authority.NewInstance()
	return authority.Found(n.cfg.Dir, authority.Leaf{
		Identity: id, Instance: instance, DiskID: n.id.DiskID, Lifetime: n.cfg.CertificateLifetime,
	}, n.cfg.authorityLifetime, func(ca *authority.CA) ([]byte, error) { return n.sealKey(ctx, ca, instance) })
}

// finishFounding does the rest of a bootstrap that was interrupted.
func (n *Node) finishFounding(ctx context.Context) error {
	if !n.life.Founding() {
		return nil
	}
	ctx, cancel := n.bound(ctx)
	defer cancel()
	if err := n.linearize(ctx); err != nil {
		return err
	}
	return n.initCluster(ctx)
}

// initCluster commits what the cluster is, on the first node, which leads.
func (n *Node) initCluster(ctx context.Context) error {
	key, err := n.keyHash()
	if err != nil {
		return err
	}
	instance, a := n.instance(), fsm.Authority{}
	if n.own != nil && n.own.Founding() != nil {
		f := n.own.Founding()
		a = fsm.Authority{TrustDomain: authority.TrustDomain(n.id.ClusterID), Certificate: f.Certificate, Key: f.Key}
	}
	result, err := n.proposer.propose(ctx, fsm.EncodeInitCluster(instance, a, n.id.NodeID, n.id.DiskID, key))
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	if here := n.machine.Position().Instance; result.Outcome != fsm.Committed && here != instance { // else it was done before
		return fmt.Errorf("bootstrap: %s", result.Detail)
	}
	if result.Outcome == fsm.Committed {
		n.audit(ctx, auditFounded, slog.String("server", n.id.NodeID), slog.String("disk", n.id.DiskID), keyAttr(key),
			slog.String("instance", instance))
	}
	if n.own != nil {
		if err := n.own.Founded(); err != nil {
			return err
		}
	}
	return n.life.Founded()
}

// keyHash is the hash of the key that this node shows.
func (n *Node) keyHash() (fsm.KeyHash, error) {
	bundle, err := n.cfg.Credentials.Load()
	if err != nil {
		return fsm.KeyHash{}, err
	}
	leaf, err := x509.ParseCertificate(bundle.Certificate.Certificate[0])
	if err != nil {
		return fsm.KeyHash{}, err
	}
	return sha256.Sum256(leaf.RawSubjectPublicKeyInfo), nil
}

// pin returns what tokens say of the authority, nil where that is not the
// cluster's own.
func (n *Node) pin() (*authority.Pin, error) {
	if n.own == nil {
		return nil, nil
	}
	a, _, err := n.authority()
	if err != nil {
		return nil, err
	}
	pin, err := authority.PinOf(a.Certificate)
	return &pin, err
}

// storedAuthority returns the cluster's authority, the instance that it is of, and
// whether the state has them.
func (n *Node) storedAuthority() (a fsm.Authority, instance string, found bool, err error) {
	view, err := n.machine.View()
	if err != nil {
		return a, "", false, n.explain(err)
	}
	defer view.Close()
	a, found, err = view.Authority()
	return a, view.Position().Instance, found, err
}

// authority is storedAuthority where there has to be one.
func (n *Node) authority() (a fsm.Authority, instance string, err error) {
	a, instance, found, err := n.storedAuthority()
	if err == nil && !found {
		err = fmt.Errorf("%w: node %s does not know the cluster's authority yet", errNotLeader, n.id.NodeID)
	}
	return a, instance, err
}

// joinToken returns the token that this node joins with.
func (n *Node) joinToken() (authority.Token, error) {
	token, err := authority.ParseToken(n.cfg.Join.Token, n.id.ClusterID)
	if err != nil {
		return token, fmt.Errorf("%w: %w", ErrToken, err)
	}
	if n.own != nil && token.Pin == nil {
		return token, fmt.Errorf("%w: it is of a cluster whose certificates come from elsewhere: set Credentials", ErrToken)
	}
	return token, nil
}

// dialToJoin opens a stream to the node at address, for this node's token: where
// the cluster is its own authority, only if that is the one which the token pins.
func (n *Node) dialToJoin(ctx context.Context, address string) (net.Conn, error) {
	token, err := n.joinToken()
	if err != nil {
		return nil, err
	}
	return n.dialJoin(ctx, address, func(chain []*x509.Certificate) error { return token.Pin.Check(chain, n.id.ClusterID) })
}

// dialToAsk opens a stream on which no secret is sent.
func (n *Node) dialToAsk(ctx context.Context, address string) (net.Conn, error) {
	return n.dialJoin(ctx, address, func([]*x509.Certificate) error { return nil })
}

func (n *Node) dialJoin(ctx context.Context, address string, trust func([]*x509.Certificate) error) (net.Conn, error) {
	if n.own == nil {
		return n.transport.DialAddress(ctx, transport.Join, address)
	}
	bundle, err := n.own.Load()
	if err != nil {
		return nil, err
	}
	return transport.DialStranger(ctx, transport.Stranger{Network: n.cfg.Network, Certificate: bundle.Certificate, Trust: trust}, address)
}

// takeCertificate makes the certificate of a response this node's.
func (n *Node) takeCertificate(resp *peerv1.JoinResponse) error {
	if n.own == nil {
		return nil
	}
	token, err := n.joinToken()
	if err != nil {
		return err
	}
	return n.own.Adopt(resp.GetChain(), authority.Roots{Certificates: resp.GetRoots(), Index: resp.GetAuthorityIndex()}, token.Pin)
}

// applicant is a node that wants to join.
type applicant struct {
	node    string
	disk    string
	key     fsm.KeyHash
	request []byte // for a certificate, nil where the cluster issues none
}

// attrs are who asks, and with which token, in an audit line.
func (who applicant) attrs(token fsm.TokenHash) []slog.Attr {
	return []slog.Attr{slog.String("server", who.node), slog.String("disk", who.disk), keyAttr(who.key), tokenAttr(token.ID())}
}

// applicant returns who asks to join, and whose key it has proved to have.
func (n *Node) applicant(conn *transport.Conn, req *peerv1.JoinRequest) (who applicant, err error) {
	who = applicant{node: conn.Peer().Node, disk: req.GetDiskId(), key: conn.Peer().Key}
	if n.own != nil {
		who.node, who.request = req.GetNodeId(), req.GetCertificateRequest()
		if _, who.key, err = authority.CheckRequest(who.request); err != nil {
			return who, fmt.Errorf("%w: %w", errBadRequest, err)
		}
	}
	if err := errors.Join(identity.CheckID(who.node), identity.CheckID(who.disk)); err != nil {
		return who, fmt.Errorf("%w: %w", errBadRequest, err)
	}
	return who, nil
}

// issue returns a certificate for a node that is admitted.
func (n *Node) issue(ctx context.Context, who applicant) (chain [][]byte, roots authority.Roots, err error) {
	a, instance, err := n.authority()
	if err != nil {
		return nil, roots, err
	}
	ca, err := n.openAuthority(ctx, a, instance)
	if err != nil {
		return nil, roots, err
	}
	chain, err = ca.Issue(who.request, authority.Leaf{
		Identity: transport.Identity{TrustDomain: authority.TrustDomain(n.id.ClusterID), Cluster: n.id.ClusterID, Node: who.node},
		Instance: instance,
		DiskID:   who.disk,
		Lifetime: n.cfg.CertificateLifetime,
	})
	return chain, rootsOf(a), err
}

// takeExpired are the kinds of stream on which a certificate of the cluster's own
// authority outlives its time, for nodes that are admitted: all nodes may have
// been off for longer than that, and without a leader nobody renews.
func (n *Node) takeExpired() []transport.Kind {
	if n.own == nil {
		return nil
	}
	return []transport.Kind{transport.Raft, transport.Peer}
}

// admitPeer implements transport.Config.Admit.
func (n *Node) admitPeer(kind transport.Kind, peer transport.PeerInfo) error {
	if kind == transport.Join {
		return nil // nothing is believed there
	}
	if err := n.sameLife(peer); err != nil {
		return err
	}
	view, err := n.machine.View()
	if err != nil {
		return err
	}
	defer view.Close()
	return n.checkAdmission(view, peer)
}

// checkAdmission returns ErrNotMember where a peer has another disk or key than
// the ones that it is admitted with, or an expired certificate and no admission
// that this node knows; and transport.ErrOldOpening where it runs on a copy of
// its disk.
func (n *Node) checkAdmission(view *fsm.View, peer transport.PeerInfo) error {
	admission, found, err := view.Admission(peer.Node)
	switch {
	case err != nil:
		return err
	case !found && peer.Expired:
		return fmt.Errorf("%w: the certificate of node %s has expired, and its admission is not known here", ErrNotMember, peer.Node)
	case !found:
		return nil
	}
	return n.checkPeer(admission, peer)
}

// checkPeer is checkAdmission for a peer with an admission.
func (n *Node) checkPeer(a fsm.Admission, peer transport.PeerInfo) error {
	switch {
	case a.DiskID != peer.Claim.Disk:
		return fmt.Errorf("%w: node %s is admitted with another disk than %q: a node whose data was lost gets a new id", ErrNotMember, peer.Node, peer.Claim.Disk)
	case n.own != nil && a.Key != peer.Key: // else keys change when the operator says so
		return fmt.Errorf("%w: node %s is admitted with another key", ErrNotMember, peer.Node)
	case !a.Recognizes(openingsOf(peer.Claim)):
		return fmt.Errorf("%w: opening %d of node %s is recorded", transport.ErrOldOpening, a.Opening.Number, peer.Node)
	}
	return nil
}
