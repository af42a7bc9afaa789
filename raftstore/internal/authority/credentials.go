package authority

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
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

	// RootsIndex is that of the log entry that the roots are those of, see Roots.
	RootsIndex uint64 `json:"roots_index,omitempty"`

	Founding *Founding `json:"founding,omitempty"`
}

// Roots are the authorities that a cluster trusts.
type Roots struct {
	Certificates [][]byte // as DER

	// Index is that of the log entry that changed them last, 0 before any has. A
	// node may be told its roots before it has applied that entry, and lose the
	// entry, not the roots, in a crash: older ones are not for it any more.
	Index uint64
}

// Credentials are a node's key and what it was given for it. They live in a
// file, or in memory alone until Save. Methods may be called concurrently.
type Credentials struct {
	path string
	key  *ecdsa.PrivateKey

	mu      sync.Mutex // guards the fields below
	content file
	shown   shown // of content
}

// shown is what others get to see of credentials. It is worked out once: who
// issued takes the check of a signature, and each probe of a peer asks for it.
type shown struct {
	bundle *transport.Bundle
	roots  []Pin
	issuer Pin // zero where that is none of the roots
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
	if err = c.use(c.content.Chain, c.content.Roots); err != nil {
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
	ca, err := NewCA(id.Cluster, "alone", Lifetime)
	if err != nil {
		return nil, err
	}
	return c, c.issue(ca, Leaf{Identity: id, Lifetime: lifetime})
}

// Found returns the credentials of the first node of a cluster, with the
// authority that it has made, which lives for so long. Of that one's key they have
// what seal makes of it.
func Found(dir string, l Leaf, lifetime time.Duration, seal func(*CA) ([]byte, error)) (*Credentials, error) {
	c, err := newCredentials(dir)
	if err != nil {
		return nil, err
	}
	ca, err := NewCA(l.Identity.Cluster, l.Instance, lifetime)
	if err != nil {
		return nil, err
	}
	key, err := seal(ca)
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
	return c.shown.bundle, nil
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
	leaf := c.shown.bundle.Certificate.Leaf
	return Issued(leaf.NotBefore), leaf.NotAfter
}

// Save writes the credentials to the data directory.
func (c *Credentials) Save() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return sealedfile.Write(c.path, c.content)
}

// Adopt takes a chain for the key, and the roots to check others with, and
// saves them. Where they don't fit nothing changes. A pin must be that of one of
// the roots: whoever shows that one may name others, which are to follow it or
// have gone before.
func (c *Credentials) Adopt(chain [][]byte, roots Roots, pin *Pin) error {
	pinned := pin == nil
	for _, der := range roots.Certificates {
		p, err := PinOf(der)
		if err != nil {
			return err
		}
		pinned = pinned || p == *pin
	}
	if !pinned {
		return fmt.Errorf("%w: no root is the authority that the join token pins; if that was replaced since, make a new token", transport.ErrUntrusted)
	}
	return c.replace(func(f *file) {
		f.Chain, f.Roots, f.RootsIndex = chain, roots.Certificates, roots.Index
		f.Founding = nil // by another node: what this one would have founded is given up
	})
}

// Renew takes a chain for the key, of one of the roots, and saves it.
func (c *Credentials) Renew(chain [][]byte) error {
	return c.replace(func(f *file) { f.Chain = chain })
}

// Trust takes the roots to check others with, and saves them. It does nothing
// where they are older, or the same.
func (c *Credentials) Trust(roots Roots) error {
	c.mu.Lock()
	known := roots.Index < c.content.RootsIndex || roots.Index == c.content.RootsIndex && slices.EqualFunc(c.content.Roots, roots.Certificates, bytes.Equal)
	c.mu.Unlock()
	if known {
		return nil
	}
	return c.replace(func(f *file) { f.Roots, f.RootsIndex = roots.Certificates, roots.Index })
}

// TrustIndex is the Index of the roots.
func (c *Credentials) TrustIndex() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.content.RootsIndex
}

// Trusts tells whether an authority is one of the roots, on disk too.
func (c *Credentials) Trusts(p Pin) bool {
	return slices.Contains(c.Roots(), p)
}

// Roots are the pins of the roots. They must not be changed.
func (c *Credentials) Roots() []Pin {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shown.roots
}

// Issuer is the pin of the authority that has issued the certificate. It is zero
// where that is no root any more.
func (c *Credentials) Issuer() Pin {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shown.issuer
}

// replace saves what change makes of the credentials, and then makes it what Load
// returns. change must not write to what the slices of a file have.
func (c *Credentials) replace(change func(*file)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := c.content
	change(&next)
	shown, err := show(c.key, next.Chain, next.Roots)
	if err != nil {
		return err
	}
	if !slices.EqualFunc(next.Chain, c.content.Chain, bytes.Equal) && shown.issuer == (Pin{}) {
		return fmt.Errorf("%w: the new certificate is of none of the roots", transport.ErrUntrusted)
	}
	if err := sealedfile.Write(c.path, next); err != nil {
		return err
	}
	c.content, c.shown = next, shown
	return nil
}

// use makes chain and roots what Load returns, without saving them.
func (c *Credentials) use(chain, roots [][]byte) (err error) {
	c.content.Chain, c.content.Roots = chain, roots
	c.shown, err = show(c.key, chain, roots)
	return err
}

func show(key *ecdsa.PrivateKey, chain, roots [][]byte) (s shown, err error) {
	if len(chain) == 0 || len(roots) == 0 {
		return s, errors.New("there is no certificate, or no root")
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return s, err
	}
	if !key.PublicKey.Equal(leaf.PublicKey) {
		return s, errors.New("the certificate is of another key")
	}
	pool := x509.NewCertPool()
	for _, der := range roots {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return s, err
		}
		pool.AddCert(cert)
		s.roots = append(s.roots, pinOf(cert))
		if s.issuer == (Pin{}) && leaf.CheckSignatureFrom(cert) == nil {
			s.issuer = pinOf(cert)
		}
	}
	s.bundle = &transport.Bundle{
		Certificate: tls.Certificate{Certificate: chain, PrivateKey: key, Leaf: leaf},
		Roots:       pool,
	}
	return s, nil
}
