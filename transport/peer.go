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

	// Authority is the SHA-256 of the SubjectPublicKeyInfo of the root that
	// vouches for the peer.
	Authority [32]byte

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

	// Openings are those of the disk that others may know the node by, the
	// present one at the end: up to [OpeningsMax], with rising numbers.
	Openings []Opening
}

// Opening is one time that a node has opened its disk.
type Opening struct {
	Number uint64   // counts them, from 1
	Nonce  [16]byte // tells two that have the same number, on copies of a disk
}

// OpeningsMax is how many openings one claim has at the most.
const OpeningsMax = 16

// validate returns an [ErrBadClaim].
func (c Claim) validate() error {
	if len(c.Openings) > OpeningsMax {
		return fmt.Errorf("%w: %d openings", ErrBadClaim, len(c.Openings))
	}
	last := uint64(0)
	for _, o := range c.Openings {
		if o.Number <= last {
			return fmt.Errorf("%w: opening %d comes after opening %d", ErrBadClaim, o.Number, last)
		}
		last = o.Number
	}
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
// byte and the text, then the number of openings in one byte, and the number and
// nonce of each. A claim that isn't valid fails.
func (c Claim) append(b []byte) ([]byte, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	for _, text := range []string{c.Instance, c.Disk} {
		b = append(b, byte(len(text)))
		b = append(b, text...)
	}
	b = append(b, byte(len(c.Openings)))
	for _, o := range c.Openings {
		b = binary.BigEndian.AppendUint64(b, o.Number)
		b = append(b, o.Nonce[:]...)
	}
	return b, nil
}

const openingBytes = 8 + 16

// claimBytesMax is the size of the largest claim on the wire.
const claimBytesMax = 2*(1+NameBytesMax) + 1 + OpeningsMax*openingBytes

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
	var err error
	if c.Openings, err = readOpenings(r); err != nil {
		return Claim{}, err
	}
	return c, c.validate()
}

func readOpenings(r io.Reader) ([]Opening, error) {
	var b [openingBytes]byte
	if _, err := io.ReadFull(r, b[:1]); err != nil {
		return nil, err
	}
	count := b[0]
	if count > OpeningsMax {
		return nil, fmt.Errorf("%w: %d openings", ErrBadClaim, count)
	}
	var openings []Opening
	for range count {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return nil, err
		}
		openings = append(openings, Opening{Number: binary.BigEndian.Uint64(b[:]), Nonce: [16]byte(b[8:])})
	}
	return openings, nil
}
