package transport

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/spire-raft/spire-raft/internal/keyfile"
)

// fileBytesMax bounds each file of [Files].
const fileBytesMax = 1 << 20

// reloadInterval is the least time between two looks at the files.
const reloadInterval = time.Second

// Files are [Credentials] in PEM files. They are read again at a handshake, at
// most once a second, so that a certificate is renewed by replacing its files.
// Between the replacing of one file and the next they may not fit each other;
// that is an error like any other, and passes.
type Files struct {
	// Certificate is the file of the node's certificate, followed by
	// intermediate ones where there are any.
	Certificate string

	// Key is the file of its private key. It must not be readable for everyone
	// on the host.
	Key string

	// Roots is the file of the authorities, at least one, and nothing else. Use
	// an authority that issues to nodes of this cluster only: whoever can have
	// it sign the name of a node is that node.
	//
	// Roots that don't vouch for this node's own certificate count for peers all
	// the same: to drop an authority shuts out what it has issued, at once.
	Roots string

	mu      sync.Mutex // guards the fields below
	checked time.Time
	unread  error     // why the files could not be read then
	content [3][]byte // of Certificate, Key and Roots, when they last could
	bundle  *Bundle   // what content holds, or
	invalid error     // why it is unusable
}

// Load implements [Credentials].
func (f *Files) Load() (*Bundle, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if f.checked.IsZero() || now.Sub(f.checked) >= reloadInterval {
		f.checked = now
		f.refresh()
	}
	if f.unread != nil {
		return nil, f.unread
	}
	return f.bundle, f.invalid
}

// refresh looks at the files. While they stay the same so does the bundle.
func (f *Files) refresh() {
	content, err := f.read()
	if f.unread = err; err != nil {
		return
	}
	if !slices.EqualFunc(content[:], f.content[:], bytes.Equal) {
		f.content = content
		f.bundle, f.invalid = f.parse(content)
	}
}

func (f *Files) read() (content [3][]byte, err error) {
	for i, path := range []string{f.Certificate, f.Key, f.Roots} {
		if content[i], err = readFile(path, path == f.Key); err != nil {
			return content, err
		}
	}
	return content, nil
}

func readFile(path string, secret bool) ([]byte, error) {
	read := keyfile.Read
	if secret {
		read = keyfile.ReadSecret
	}
	content, err := read(path, fileBytesMax+1)
	if err != nil {
		return nil, err
	}
	if len(content) > fileBytesMax {
		return nil, fmt.Errorf("%s has over %d bytes: that is no PEM file of certificates or a key", path, fileBytesMax)
	}
	return content, nil
}

func (f *Files) parse(content [3][]byte) (*Bundle, error) {
	cert, err := tls.X509KeyPair(content[0], content[1])
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", f.Certificate, f.Key, err)
	}
	roots, err := parseRoots(content[2])
	if err != nil {
		return nil, fmt.Errorf("roots %s: %w", f.Roots, err)
	}
	return &Bundle{Certificate: cert, Roots: roots}, nil
}

// parseRoots takes authorities only: a node's certificate among the roots would
// stay trusted whatever its authority does.
func parseRoots(content []byte) (*x509.CertPool, error) {
	roots, n := x509.NewCertPool(), 0
	for {
		var block *pem.Block
		if block, content = pem.Decode(content); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("the file has a %.100q, and should have certificates only", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		if !cert.BasicConstraintsValid || !cert.IsCA || cert.KeyUsage != 0 && cert.KeyUsage&x509.KeyUsageCertSign == 0 {
			return nil, fmt.Errorf("%.300q is no authority: it may not issue certificates", cert.Subject)
		}
		roots.AddCert(cert)
		n++
	}
	if n == 0 {
		return nil, errors.New("there is no PEM certificate in the file")
	}
	return roots, nil
}
