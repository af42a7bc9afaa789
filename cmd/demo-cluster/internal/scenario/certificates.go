package scenario

import (
	"fmt"
	"sync"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
)

// overdueMax is how long a server that answers may have an expired certificate:
// one that was down while it expired renews it as soon as there is a leader.
const overdueMax = 5 * time.Second

// assessCertificates holds the renewals against what chaos must show: one server,
// at least, has had a new certificate in each of their lifetimes, and all have had
// one when theirs ended.
func (s *session) assessCertificates(took time.Duration) {
	renewals := s.certificates.count()
	s.note("%d renewals of certificates that live for %v were seen", renewals, chaosCertificates)
	if want := int(took / chaosCertificates); renewals < want {
		s.problem("%d renewals of certificates in %.0f s, at least %d were to be shown", renewals, took.Seconds(), want)
	}
	for _, problem := range s.certificates.problems() {
		s.problem("%s", problem)
	}
}

// certificates follows when the certificates of the servers end. Its methods may
// be called concurrently.
type certificates struct {
	mu       sync.Mutex // guards the fields below
	known    map[string]certificate
	renewals int
	overdue  []string // what is wrong, in words
}

// certificate is what is known of a server's certificate.
type certificate struct {
	notAfter time.Time

	// expired is since when the server has answered with this certificate after
	// its end. Zero means that it has not, or that it didn't answer meanwhile.
	expired time.Time
}

// look takes what a server says, nil where it doesn't answer.
func (c *certificates) look(server string, status *api.Status, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		c.known = make(map[string]certificate)
	}
	cert, seen := c.known[server]
	silent := status == nil || status.Node != server
	switch {
	case silent && !seen:
		return
	case silent:
		cert.expired = time.Time{}
	case !seen:
		cert.notAfter = status.CertificateNotAfter
	case status.CertificateNotAfter.After(cert.notAfter):
		c.renewals++
		cert = certificate{notAfter: status.CertificateNotAfter}
	case now.Before(cert.notAfter):
	case cert.expired.IsZero():
		cert.expired = now
	case now.Sub(cert.expired) > overdueMax:
		c.overdue = append(c.overdue, fmt.Sprintf("%s has had an expired certificate for %v, and was not given another", server, overdueMax))
		cert.expired = now // to say so again where that goes on
	}
	c.known[server] = cert
}

// count is how many renewals there have been.
func (c *certificates) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.renewals
}

// problems are the renewals that failed, in words.
func (c *certificates) problems() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.overdue
}
