package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
)

// Bundle is what a node needs to show who it is and to check others. It must
// not be changed once it is in use.
type Bundle struct {
	// Certificate is the node's own chain and private key. Its leaf must serve
	// for both TLS clients and servers.
	Certificate tls.Certificate

	// Roots are the authorities that vouch for nodes.
	Roots *x509.CertPool
}

// Credentials is where a [Transport] gets its [Bundle]. It asks at each
// handshake, so that certificates change without a restart; connections that
// are open stay as they are. An unchanged bundle should be the same pointer,
// since a new one is checked.
//
// After an error, or a bundle that does not fit the node, the transport goes
// on with the last good one and logs. Load may be called concurrently.
type Credentials interface {
	Load() (*Bundle, error)
}

// Load implements [Credentials] with a bundle that never changes.
func (b *Bundle) Load() (*Bundle, error) { return b, nil }

// Identity returns the identity that the bundle's certificate names.
func (b *Bundle) Identity() (Identity, error) {
	chain, err := b.chain()
	if err != nil {
		return Identity{}, err
	}
	return ParseIdentity(chain[0])
}

// chain returns the certificates of b, leaf first.
func (b *Bundle) chain() ([]*x509.Certificate, error) {
	if b == nil || len(b.Certificate.Certificate) == 0 {
		return nil, fmt.Errorf("%w: there is no certificate", ErrUntrusted)
	}
	chain := make([]*x509.Certificate, len(b.Certificate.Certificate))
	for i, der := range b.Certificate.Certificate {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("%w: certificate %d of the chain can't be parsed: %w", ErrUntrusted, i, err)
		}
		chain[i] = cert
	}
	return chain, nil
}

// check tells whether b is good for the node of cfg, in both roles.
func (b *Bundle) check(cfg Config) error {
	chain, err := b.chain()
	if err != nil {
		return err
	}
	if b.Certificate.PrivateKey == nil {
		return errors.New("the certificate has no private key")
	}
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		var kind Kind // none, where a certificate whose time is over serves for none
		if len(cfg.TakeExpired) > 0 {
			kind = cfg.TakeExpired[0]
		}
		peer, err := verify(chain, b.Roots, usage, cfg, kind)
		if err != nil {
			return err
		}
		if peer.Identity != cfg.Identity {
			return fmt.Errorf("%w: it is of %s, this node is %s", ErrWrongNode, peer, cfg.Identity)
		}
	}
	return nil
}

// wallet remembers the last good bundle of a source.
type wallet struct {
	cfg Config

	mu     sync.Mutex // guards the fields below
	good   *Bundle
	bad    *Bundle // the last bundle that failed its check
	logged string  // the last error that was logged
}

// open takes the first bundle, which must be good.
func (w *wallet) open() error {
	b, err := w.cfg.Credentials.Load()
	if err == nil {
		err = b.check(w.cfg)
	}
	if err != nil {
		return fmt.Errorf("this node's credentials: %w%s", err, cure(err))
	}
	w.good = b
	return nil
}

// cure tells what helps against a node's own certificate that does not fit.
// What is wrong with its time tells so itself, see verify.
func cure(err error) string {
	switch {
	case errors.Is(err, ErrOtherCluster), errors.Is(err, ErrWrongNode), errors.Is(err, ErrBadIdentity):
		return "; use the certificate that was issued to this node"
	case errors.Is(err, ErrUntrusted):
		return "; use a certificate, for both TLS servers and clients, that one of the configured roots has issued"
	}
	return ""
}

// bundle returns the newest good bundle.
func (w *wallet) bundle() *Bundle {
	b, err := w.cfg.Credentials.Load()

	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil && (b == w.good || b == w.bad) {
		return w.good
	}
	if err == nil {
		if err = b.check(w.cfg); err != nil {
			w.bad = b
		}
	}
	if err == nil {
		w.good, w.bad, w.logged = b, nil, ""
		w.cfg.Log.Info("certificate reloaded")
		return b
	}
	if text := err.Error(); text != w.logged {
		w.logged = text
		w.cfg.Log.Error("new credentials are unusable, going on with the old ones", "error", err)
	}
	return w.good
}
