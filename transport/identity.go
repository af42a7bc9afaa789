package transport

import (
	"crypto/x509"
	"fmt"
	"strings"
)

// NameBytesMax is the length of the longest cluster or node name, and
// TrustDomainBytesMax that of the longest trust domain.
const (
	NameBytesMax        = 128
	TrustDomainBytesMax = 255
)

// Identity is who a node is. Addresses are not part of it: they change.
//
// Each part is made of the characters a-z, 0-9, dot, hyphen and underscore, and
// is not "." or "..".
type Identity struct {
	TrustDomain string
	Cluster     string
	Node        string
}

// ID returns the URI that stands for i in a certificate. SPIRE keeps paths that
// begin with /spire/ to itself: no registration entry can have one, so that in a
// trust domain whose authority signs for nodes too no workload becomes a node.
func (i Identity) ID() string {
	return "spiffe://" + i.TrustDomain + "/spire/raft/" + i.Cluster + "/" + i.Node
}

// String returns the ID.
func (i Identity) String() string { return i.ID() }

// Validate returns an [ErrBadIdentity] that names the part that is wrong.
func (i Identity) Validate() error {
	if err := checkName("trust domain", i.TrustDomain, TrustDomainBytesMax); err != nil {
		return err
	}
	if err := checkName("cluster", i.Cluster, NameBytesMax); err != nil {
		return err
	}
	return checkName("node", i.Node, NameBytesMax)
}

func checkName(part, name string, bytesMax int) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: the %s is empty", ErrBadIdentity, part)
	case len(name) > bytesMax:
		return fmt.Errorf("%w: the %s has %d bytes, the limit is %d", ErrBadIdentity, part, len(name), bytesMax)
	case name == "." || name == "..":
		return fmt.Errorf("%w: the %s is %q", ErrBadIdentity, part, name)
	}
	bad := strings.IndexFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '.' && r != '-' && r != '_'
	})
	if bad >= 0 {
		return fmt.Errorf("%w: the %s %q may have only a-z, 0-9, '.', '-' and '_'", ErrBadIdentity, part, name)
	}
	return nil
}

// ParseIdentity returns the identity that cert names. It does not verify cert.
// The certificate must have exactly one URI, in the form that ID has: else it
// returns ErrBadIdentity.
func ParseIdentity(cert *x509.Certificate) (Identity, error) {
	if len(cert.URIs) != 1 {
		return Identity{}, fmt.Errorf("%w: the certificate has %d URI names, not one", ErrBadIdentity, len(cert.URIs))
	}
	u := cert.URIs[0]
	uri := u.String()
	segments := strings.Split(u.Path, "/")
	if u.Scheme != "spiffe" || len(segments) != 5 || segments[1] != "spire" || segments[2] != "raft" {
		return Identity{}, fmt.Errorf("%w: the certificate names %.300q, not spiffe://<trust domain>/spire/raft/<cluster>/<node>", ErrBadIdentity, uri)
	}
	id := Identity{TrustDomain: u.Host, Cluster: segments[3], Node: segments[4]}
	if err := id.Validate(); err != nil {
		return Identity{}, fmt.Errorf("certificate for %.300q: %w", uri, err)
	}
	// Ports, queries, escapes and the like end here: one identity has one URI.
	if id.ID() != uri {
		return Identity{}, fmt.Errorf("%w: the certificate names %.300q, which should be %q", ErrBadIdentity, uri, id)
	}
	return id, nil
}
