package raftstore

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/spire-raft/spire-raft/fsm"
	"github.com/spire-raft/spire-raft/internal/keyfile"
	"github.com/spire-raft/spire-raft/raftstore/internal/authority"
)

// AuthoritySeal encrypts the key of a cluster's authority under a key that the
// cluster doesn't store: see [NewFileSeal], or ask a key management service. Its
// methods may be called concurrently, and should end with their context.
type AuthoritySeal interface {
	// Seal encrypts plaintext, and authenticates it together with aad, which
	// names the cluster, its instance and the authority.
	Seal(ctx context.Context, plaintext, aad []byte) ([]byte, error)

	// Open returns the plaintext of what Seal has made with the same aad, and
	// else an error.
	Open(ctx context.Context, sealed, aad []byte) ([]byte, error)
}

// sealKeyBytes is the size of the file of a FileSeal.
const sealKeyBytes = 32

// FileSeal is an [AuthoritySeal] with a key from a file: AES-256-GCM with random
// nonces.
type FileSeal struct {
	path string
	aead cipher.AEAD
}

var _ AuthoritySeal = (*FileSeal)(nil)

// NewFileSeal reads the key, 32 random bytes, from a file that nobody but its owner
// and group can get at. Keep it off the disk of the data directory, and out of its
// backups.
func NewFileSeal(path string) (*FileSeal, error) {
	key, err := readSealKey(path)
	if err != nil {
		return nil, fmt.Errorf("seal of the authority's key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	return &FileSeal{path: path, aead: aead}, err
}

func readSealKey(path string) ([]byte, error) {
	key, err := keyfile.ReadSecret(path, sealKeyBytes+1)
	if err != nil {
		return nil, err
	}
	if len(key) != sealKeyBytes {
		return nil, fmt.Errorf("%s has not exactly %d bytes: make it with head -c %d /dev/urandom", path, sealKeyBytes, sealKeyBytes)
	}
	return key, nil
}

// Seal implements [AuthoritySeal].
func (s *FileSeal) Seal(_ context.Context, plaintext, aad []byte) ([]byte, error) {
	nonce := make([]byte, s.aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails, see its documentation
	return s.aead.Seal(nonce, nonce, plaintext, aad), nil
}

// Open implements [AuthoritySeal].
func (s *FileSeal) Open(_ context.Context, sealed, aad []byte) ([]byte, error) {
	n := s.aead.NonceSize()
	if len(sealed) < n {
		return nil, fmt.Errorf("it has %d bytes, less than a nonce", len(sealed))
	}
	plaintext, err := s.aead.Open(nil, sealed[:n], sealed[n:], aad)
	if err != nil {
		return nil, fmt.Errorf("key file %s is not the one that it was sealed with, or it is damaged", s.path)
	}
	return plaintext, nil
}

// sealedPrefix begins a sealed key in the state. A key in plain is DER, which
// begins with another byte.
const sealedPrefix = "sealed:"

// sealAAD is what a sealed key is bound to.
func (n *Node) sealAAD(instance string, pin authority.Pin) []byte {
	return []byte(strings.Join([]string{"spire-raft authority key", n.id.ClusterID, instance, pin.String()}, "/"))
}

// sealKey returns the key of an authority as the state has it.
func (n *Node) sealKey(ctx context.Context, ca *authority.CA, instance string) ([]byte, error) {
	key, err := ca.Key()
	if err != nil || n.cfg.AuthoritySeal == nil {
		return key, err
	}
	sealed, err := n.cfg.AuthoritySeal.Seal(ctx, key, n.sealAAD(instance, ca.Pin()))
	if err != nil {
		return nil, fmt.Errorf("seal the key of the authority: %w", err)
	}
	return append([]byte(sealedPrefix), sealed...), nil
}

// openAuthority returns the authority that issues. It is ErrSealed where this node
// can't open its key.
func (n *Node) openAuthority(ctx context.Context, a fsm.Authority, instance string) (*authority.CA, error) {
	sealed, ok := bytes.CutPrefix(a.Key, []byte(sealedPrefix))
	if !ok {
		return authority.OpenCA(a.Certificate, a.Key)
	}
	fail := func(err error) (*authority.CA, error) {
		return nil, fmt.Errorf("%w: node %s: %w", ErrSealed, n.id.NodeID, err)
	}
	if n.cfg.AuthoritySeal == nil {
		return fail(errors.New("it is sealed, and this node has no AuthoritySeal: configure that of the other nodes"))
	}
	pin, err := authority.PinOf(a.Certificate)
	if err != nil {
		return nil, err
	}
	key, err := n.cfg.AuthoritySeal.Open(ctx, sealed, n.sealAAD(instance, pin))
	if err != nil {
		return fail(err)
	}
	return authority.OpenCA(a.Certificate, key)
}

// canIssue is ErrSealed where this node could not issue what an applicant asks for.
func (n *Node) canIssue(ctx context.Context, who applicant) error {
	if who.request == nil {
		return nil
	}
	a, instance, err := n.authority()
	if err == nil {
		_, err = n.openAuthority(ctx, a, instance)
	}
	return err
}

// checkSeal says so, once for each authority, where this node could not issue if it
// led, and where the key is stored in plain in spite of a seal.
func (n *Node) checkSeal(ctx context.Context, a fsm.Authority) {
	if bytes.Equal(a.Key, n.rotation.sealChecked) {
		return
	}
	n.rotation.sealChecked = a.Key
	_, err := n.openAuthority(ctx, a, n.instance())
	switch {
	case err != nil:
		n.log.Error("this node can't issue certificates when it leads: nobody can join or renew then", "error", err)
	case n.cfg.AuthoritySeal != nil && !bytes.HasPrefix(a.Key, []byte(sealedPrefix)):
		n.log.Warn("the key of the cluster's authority is stored in plain, since it was made without a seal: call RotateAuthority to have one that is sealed")
	}
}
