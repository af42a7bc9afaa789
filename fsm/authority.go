package fsm

import (
	"bytes"
	"encoding/binary"
	"fmt"

	fsmv1 "github.com/spire-raft/spire-raft/proto/fsm/v1"
)

// Authority is what a cluster issues the certificates of its nodes with. All of
// it is empty where it doesn't.
type Authority struct {
	TrustDomain string

	// Certificate is that of the authority that issues, as DER.
	Certificate []byte

	// Key is what whoever has made the authority can turn into its private key.
	// The machine doesn't look into it. Whoever can read the state has it.
	Key []byte

	// Next and NextKey are those of the authority that is to issue in its place.
	// It is trusted already. Empty where there is none.
	Next    []byte
	NextKey []byte

	// Old is the certificate of the authority that has issued before. It is still
	// trusted. Empty where there is none.
	Old []byte

	// ChangedIndex is that of the last ChangeAuthority entry, 0 if there was none.
	ChangedIndex uint64
}

// AuthorityStep is a step of a rotation.
type AuthorityStep uint32

// The steps of a rotation, in their order. See [EncodeChangeAuthority].
const (
	AuthorityAdd     = AuthorityStep(fsmv1.ChangeAuthority_STEP_ADD)
	AuthorityPromote = AuthorityStep(fsmv1.ChangeAuthority_STEP_PROMOTE)
	AuthorityDrop    = AuthorityStep(fsmv1.ChangeAuthority_STEP_DROP)
)

// authorityPart is a record of an authority.
type authorityPart struct {
	name string
	body []byte // nil, and no record, where it is empty
	set  func([]byte)
}

func (a *Authority) parts() []authorityPart {
	var changed []byte
	if a.ChangedIndex > 0 {
		changed = uint64Bytes(a.ChangedIndex)
	}
	return []authorityPart{
		{"certificate", a.Certificate, func(b []byte) { a.Certificate = b }},
		{"changed", changed, func(b []byte) { a.ChangedIndex = indexOf(b) }},
		{"key", a.Key, func(b []byte) { a.Key = b }},
		{"next-certificate", a.Next, func(b []byte) { a.Next = b }},
		{"next-key", a.NextKey, func(b []byte) { a.NextKey = b }},
		{"old-certificate", a.Old, func(b []byte) { a.Old = b }},
		{"trust-domain", append([]byte(nil), a.TrustDomain...), func(b []byte) { a.TrustDomain = string(b) }},
	}
}

// indexOf is the number in a record that uint64Bytes has made.
func indexOf(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// authority reads the authority in a bucket. Its bytes are copies.
func (b *bucket) authority() (a Authority, err error) {
	for _, part := range a.parts() {
		body, err := b.findSealed([]byte(part.name))
		if err != nil {
			return a, err
		}
		part.set(bytes.Clone(body))
	}
	return a, nil
}

// setAuthority stores an authority in place of the old one.
func (b *batch) setAuthority(old, a Authority) {
	before := old.parts()
	for i, part := range a.parts() {
		was := before[i].body
		switch {
		case bytes.Equal(was, part.body):
		case len(part.body) == 0:
			b.remove(bucketAuthority, []byte(part.name), was)
		default:
			b.put(bucketAuthority, []byte(part.name), was, part.body)
		}
	}
}

// changeAuthority does a step of a rotation. One that is out of order, or not of
// this rotation, comes from a leader that didn't know better.
func (b *batch) changeAuthority(c *fsmv1.ChangeAuthority) (Result, error) {
	old, err := b.buckets[bucketAuthority].authority()
	if err != nil {
		return Result{}, err
	}
	a := old
	step := AuthorityStep(c.Step)
	switch {
	case len(a.Certificate) == 0:
		return b.refuse(Refused, "the cluster is not its own authority"), nil
	case step == AuthorityAdd && len(a.Next)+len(a.Old) > 0:
		return b.refuse(Refused, "the authority is being replaced already"), nil
	case step == AuthorityPromote && !bytes.Equal(a.Next, c.Certificate):
		return b.refuse(Refused, "there is no such authority that could issue next"), nil
	case step == AuthorityDrop && !bytes.Equal(a.Old, c.Certificate):
		return b.refuse(Refused, "there is no such authority that could be dropped"), nil
	}
	switch step {
	case AuthorityAdd:
		a.Next, a.NextKey = c.Certificate, c.Key
	case AuthorityPromote:
		a.Old, a.Certificate, a.Key, a.Next, a.NextKey = a.Certificate, a.Next, a.NextKey, nil, nil
		if err := b.dropTokens(func(t JoinToken) bool { return t.UsedBy == "" }); err != nil {
			return Result{}, err
		}
	case AuthorityDrop:
		a.Old = nil
	default:
		return Result{}, fmt.Errorf("%w: a change of the authority of kind %d", ErrTooNew, step)
	}
	a.ChangedIndex = b.state.index
	b.setAuthority(old, a)
	return b.done(), nil
}
