package authority

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/spire-raft/spire-raft/raftstore/internal/sealedfile"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/transport"
)

// FileName is the file of a node's credentials, in its data directory.
const FileName = "credentials.json"

const fileFormat = 1

var _ transport.Credentials = (*Credentials)(nil)

// Founding is what the first node of a cluster holds until the replicated state
// has it.
type Founding struct {
	Instance    string `json:"instance"`
	Certificate []byte `json:"certificate"`
	Key         []byte `json:"key"`
}

// file is the content of FileName.
type file struct {
	Format int      `json:"format"`
	Key    []byte   `json:"key"`   // PKCS #8
	Chain  [][]byte `json:"chain"` // leaf first
	Roots  [][]byte `json:"roots"`

	Founding *Founding `json:"founding,omitempty"`
}

// Credentials are a node's key and what it was given for it. They live in a
// file, or in memory alone until Save. Methods may be called concurrently.
type Credentials struct {
	path string
	key  *ecdsa.PrivateKey

	mu      sync.Mutex // guards the fields below
	content file
	bundle  *transport.Bundle
}

// Open returns the credentials in a data directory. Where there are none the
// error is an [fs.ErrNotExist].
func Open(dir string) (*Credentials, error) {
	c := &Credentials{path: filepath.Join(dir, FileName)}
	if err := sealedfile.Read(c.path, &c.content); err != nil {
		return nil, err
	}
	if c.content.Format > fileFormat {
		return nil, fmt.Errorf("%s has format %d, this version knows up to %d: use the version that wrote it, or a later one", c.path, c.content.Format, fileFormat)
	}
	key, err := x509.ParsePKCS8PrivateKey(c.content.Key)
	private, ok := key.(*ecdsa.PrivateKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("%s: %w: it has a valid checksum but no key", c.path, store.ErrCorrupt)
	}
	c.key = private
	if c.bundle, err = bundleOf(c.key, c.content.Chain, c.content.Roots); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", c.path, store.ErrCorrupt, err)
	}
	return c, nil
}

// New returns credentials with a new key, and a certificate that the node has
// made for itself: it opens a listener, and nobody trusts it.
func New(dir string, id transport.Identity, lifetime time.Duration) (*Credentials, error) {
	c, err := newCredentials(dir)
	if err != nil {
		return nil, err
	}
	ca, err := NewCA(id.Cluster, "alone")
	if err != nil {
		return nil, err
	}
	return c, c.issue(ca, Leaf{Identity: id, Lifetime: lifetime})
}

// Found returns the credentials of the first node of a cluster, with the
// authority that it has made.
func Found(dir string, l Leaf) (*Credentials, error) {
	c, err := newCredentials(dir)
	if err != nil {
		return nil, err
	}
	ca, err := NewCA(l.Identity.Cluster, l.Instance)
	if err != nil {
		return nil, err
	}
	key, err := ca.Key()
	if err != nil {
		return nil, err
	}
	c.content.Founding = &Founding{Instance: l.Instance, Certificate: ca.Certificate(), Key: key}
	return c, c.issue(ca, l)
}

func newCredentials(dir string) (c *Credentials, err error) {
	c = &Credentials{path: filepath.Join(dir, FileName)}
	if c.key, err = newKey(); err != nil {
		return nil, err
	}
	c.content.Format = fileFormat
	c.content.Key, err = x509.MarshalPKCS8PrivateKey(c.key)
	return c, err
}

// issue gives c a certificate of ca.
func (c *Credentials) issue(ca *CA, l Leaf) error {
	request, err := c.Request()
	if err != nil {
		return err
	}
	chain, err := ca.Issue(request, l)
	if err != nil {
		return err
	}
	return c.use(chain, [][]byte{ca.Certificate()})
}

// Load implements [transport.Credentials].
func (c *Credentials) Load() (*transport.Bundle, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bundle, nil
}

// Request returns a certificate request for the key.
func (c *Credentials) Request() ([]byte, error) { return newRequest(c.key) }

// Founding returns what the replicated state is to be told, nil if nothing.
func (c *Credentials) Founding() *Founding {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.content.Founding
}

// Founded forgets Founding, on disk too: the replicated state has it.
func (c *Credentials) Founded() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.content.Founding = nil
	return sealedfile.Write(c.path, c.content)
}

// Validity returns when the certificate was issued, and when it expires.
func (c *Credentials) Validity() (issued, end time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	leaf := c.bundle.Certificate.Leaf
	return leaf.NotBefore.Add(skew), leaf.NotAfter
}

// Save writes the credentials to the data directory.
func (c *Credentials) Save() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return sealedfile.Write(c.path, c.content)
}

// Adopt takes a chain for the key, and the roots to check others with, and
// saves them. Where they don't fit nothing changes. A pin must be that of all
// roots.
func (c *Credentials) Adopt(chain, roots [][]byte, pin *Pin) error {
	for _, der := range roots {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("root: %w", err)
		}
		if pin != nil && pinOf(cert) != *pin {
			return fmt.Errorf("%w: a root is not the authority that the join token pins", transport.ErrUntrusted)
		}
	}
	if err := c.use(chain, roots); err != nil {
		return err
	}
	return c.Founded() // by another node: what this one would have founded is given up
}

// use makes chain and roots what Load returns.
func (c *Credentials) use(chain, roots [][]byte) error {
	bundle, err := bundleOf(c.key, chain, roots)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bundle, c.content.Chain, c.content.Roots = bundle, chain, roots
	return nil
}

func bundleOf(key *ecdsa.PrivateKey, chain, roots [][]byte) (*transport.Bundle, error) {
	if len(chain) == 0 || len(roots) == 0 {
		return nil, errors.New("there is no certificate, or no root")
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return nil, err
	}
	if !key.PublicKey.Equal(leaf.PublicKey) {
		return nil, errors.New("the certificate is of another key")
	}
	pool := x509.NewCertPool()
	for _, der := range roots {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		pool.AddCert(cert)
	}
	return &transport.Bundle{
		Certificate: tls.Certificate{Certificate: chain, PrivateKey: key, Leaf: leaf},
		Roots:       pool,
	}, nil
}
