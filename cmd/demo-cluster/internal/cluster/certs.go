package cluster

import (
	"path/filepath"
	"time"

	"github.com/spire-raft/spire-raft/transport"
	"github.com/spire-raft/spire-raft/transport/devca"
)

// lifetime of the certificates. A run that is served for longer fails.
const lifetime = 30 * 24 * time.Hour

// issueCertificates gives every server a certificate of an authority whose key
// is forgotten right after.
func (c *Cluster) issueCertificates() error {
	ca, err := devca.New(lifetime)
	if err != nil {
		return err
	}
	for _, s := range c.Servers {
		id := transport.Identity{TrustDomain: trustDomain, Cluster: clusterID, Node: s.Name}
		s.tls, err = ca.WriteFiles(filepath.Join(s.dir, "tls"), id, lifetime)
		if err != nil {
			return err
		}
	}
	return nil
}
