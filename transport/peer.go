package transport

import (
	"encoding/binary"
	"fmt"
	"io"
)

// PeerInfo is who is at the other end of a stream.
type PeerInfo struct {
	// Identity and Key are proved: the certificate names the identity, and Key
	// is the SHA-256 of the SubjectPublicKeyInfo of its key.
	Identity
	Key [32]byte

	// Claim is only said. What it is worth the owner of the transport knows.
	Claim Claim

	// Expired tells that the certificate's time is over. Only where
	// [Config].TakeExpired says so does such a peer get so far.
	Expired bool
}

// Claim is what a node says of itself in the handshake. The transport carries
// it and doesn't know what it means. A text that isn't empty is made of the
// characters of an [Identity] and has up to [NameBytesMax] bytes.
type Claim struct {
	Instance string // the life of the cluster that the node belongs to
	Disk     string // the disk that the node stores on
	Opening  uint64 // how often that disk has been opened
}

// validate returns an [ErrBadClaim].
func (c Claim) validate() error {
	for _, text := range []string{c.Instance, c.Disk} {
		if text == "" {
			continue
		}
		if err := checkName("claim", text, NameBytesMax); err != nil {
			return fmt.Errorf("%w: %w", ErrBadClaim, err)
		}
	}
	return nil
}

// append appends c as it goes over the wire: the length of each text in one
// byte and the text, then the number. A claim that isn't valid fails.
func (c Claim) append(b []byte) ([]byte, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	for _, text := range []string{c.Instance, c.Disk} {
		b = append(b, byte(len(text)))
		b = append(b, text...)
	}
	return binary.BigEndian.AppendUint64(b, c.Opening), nil
}

// claimBytesMax is the size of the largest claim on the wire.
const claimBytesMax = 2*(1+NameBytesMax) + 8

// readClaim reads one claim and no byte more. It takes no memory that the peer
// has a say in.
func readClaim(r io.Reader) (Claim, error) {
	var c Claim
	for _, text := range []*string{&c.Instance, &c.Disk} {
		var b [1 + NameBytesMax]byte
		if _, err := io.ReadFull(r, b[:1]); err != nil {
			return Claim{}, err
		}
		if b[0] > NameBytesMax {
			return Claim{}, fmt.Errorf("%w: a text of %d bytes", ErrBadClaim, b[0])
		}
		got := b[1 : 1+b[0]]
		if _, err := io.ReadFull(r, got); err != nil {
			return Claim{}, err
		}
		*text = string(got)
	}
	var opening [8]byte
	if _, err := io.ReadFull(r, opening[:]); err != nil {
		return Claim{}, err
	}
	c.Opening = binary.BigEndian.Uint64(opening[:])
	return c, c.validate()
}
