package records

import (
	"reflect"
	"slices"

	"google.golang.org/protobuf/proto"

	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
)

// The copies below are deep and made field by field, reading the original
// without any method that would touch its caches. Nil gives nil, and so do empty
// lists and bytes: a copy looks like what is decoded after it was stored.

// CopySelectors returns a copy of selectors. An empty slice gives nil.
func CopySelectors(selectors []*spirev1.Selector) []*spirev1.Selector {
	return copyAll(selectors, func(s *spirev1.Selector) *spirev1.Selector {
		if s == nil {
			return nil
		}
		return &spirev1.Selector{Type: s.Type, Value: s.Value}
	})
}

// CopyBundle returns a copy of b, with the fields that this version doesn't
// know.
func CopyBundle(b *spirev1.Bundle) *spirev1.Bundle {
	if b == nil {
		return nil
	}
	return withUnknown(b, &spirev1.Bundle{
		TrustDomainId:  b.TrustDomainId,
		RootCas:        CopyCertificates(b.RootCas),
		JwtSigningKeys: CopyPublicKeys(b.JwtSigningKeys),
		RefreshHint:    b.RefreshHint,
		SequenceNumber: b.SequenceNumber,
		WitSigningKeys: CopyPublicKeys(b.WitSigningKeys),
	})
}

// CopyCertificates returns a copy of certs. An empty slice gives nil.
func CopyCertificates(certs []*spirev1.Certificate) []*spirev1.Certificate {
	return copyAll(certs, func(c *spirev1.Certificate) *spirev1.Certificate {
		if c == nil {
			return nil
		}
		return withUnknown(c, &spirev1.Certificate{DerBytes: copyBytes(c.DerBytes), TaintedKey: c.TaintedKey})
	})
}

// CopyPublicKeys returns a copy of public keys. An empty slice gives nil.
func CopyPublicKeys(ks []*spirev1.PublicKey) []*spirev1.PublicKey {
	return copyAll(ks, CopyPublicKey)
}

// CopyPublicKey returns a copy of k.
func CopyPublicKey(k *spirev1.PublicKey) *spirev1.PublicKey {
	if k == nil {
		return nil
	}
	return withUnknown(k, &spirev1.PublicKey{
		PkixBytes:  copyBytes(k.PkixBytes),
		Kid:        k.Kid,
		NotAfter:   k.NotAfter,
		TaintedKey: k.TaintedKey,
	})
}

// CopyEntry returns a copy of e, without fields that this version doesn't know,
// but for those of its additional attributes. Empty lists become nil.
func CopyEntry(e *spirev1.RegistrationEntry) *spirev1.RegistrationEntry {
	if e == nil {
		return nil
	}
	c := entryLiteral(e)
	c.Selectors = CopySelectors(e.Selectors)
	c.FederatesWith = append([]string(nil), e.FederatesWith...)
	c.DnsNames = append([]string(nil), e.DnsNames...)
	c.AdditionalAttributes = CopyAttributes(e.AdditionalAttributes)
	return c
}

// CloneEntry returns a copy of an entry as it was decoded, which is as decoding
// it again would be: fields that this version doesn't know stay where decoding
// keeps them. Empty lists become nil, which is what decoding makes of them.
func CloneEntry(e *spirev1.RegistrationEntry) *spirev1.RegistrationEntry {
	if e == nil {
		return nil
	}
	c := entryLiteral(e)
	c.Selectors = CloneSelectors(e.Selectors)
	c.FederatesWith = append([]string(nil), e.FederatesWith...)
	c.DnsNames = append([]string(nil), e.DnsNames...)
	c.AdditionalAttributes = CopyAttributes(e.AdditionalAttributes)
	return c
}

// CloneSelectors returns a copy of selectors with the fields that this version
// doesn't know. An empty slice gives nil. The copies are one piece of memory:
// whoever keeps one of them keeps all.
func CloneSelectors(selectors []*spirev1.Selector) []*spirev1.Selector {
	if len(selectors) == 0 {
		return nil
	}
	piece := make([]spirev1.Selector, len(selectors))
	out := make([]*spirev1.Selector, len(selectors))
	for i, s := range selectors {
		c := &piece[i]
		c.Type, c.Value = s.Type, s.Value
		setUnknown(c, reflect.ValueOf(s).Elem().Field(selectorUnknown).Bytes())
		out[i] = c
	}
	return out
}

// selectorUnknown is the field with the unknown fields of a selector. Looking for
// it each time would take longer than the rest of the copy.
var selectorUnknown = func() int {
	f, _ := reflect.TypeFor[spirev1.Selector]().FieldByName(unknownFields)
	return f.Index[0]
}()

// CopyAttributes returns a copy of a, with the fields that this version doesn't
// know.
func CopyAttributes(a *spirev1.RegistrationEntry_AdditionalAttributes) *spirev1.RegistrationEntry_AdditionalAttributes {
	if a == nil {
		return nil
	}
	return withUnknown(a, &spirev1.RegistrationEntry_AdditionalAttributes{
		DisableX509SvidPrefetch: a.DisableX509SvidPrefetch,
		JwtSvidIncludeJti:       a.JwtSvidIncludeJti,
	})
}

// entryLiteral returns an entry that shares what e points to.
func entryLiteral(e *spirev1.RegistrationEntry) *spirev1.RegistrationEntry {
	return &spirev1.RegistrationEntry{
		Selectors:            e.Selectors,
		ParentId:             e.ParentId,
		SpiffeId:             e.SpiffeId,
		X509SvidTtl:          e.X509SvidTtl,
		FederatesWith:        e.FederatesWith,
		EntryId:              e.EntryId,
		Admin:                e.Admin,
		Downstream:           e.Downstream,
		EntryExpiry:          e.EntryExpiry,
		DnsNames:             e.DnsNames,
		RevisionNumber:       e.RevisionNumber,
		StoreSvid:            e.StoreSvid,
		JwtSvidTtl:           e.JwtSvidTtl,
		Hint:                 e.Hint,
		CreatedAt:            e.CreatedAt,
		AdditionalAttributes: e.AdditionalAttributes,
	}
}

// CopyNode returns a copy of n, without fields that this version doesn't know.
func CopyNode(n *spirev1.AttestedNode) *spirev1.AttestedNode {
	if n == nil {
		return nil
	}
	c := nodeLiteral(n)
	c.Selectors = CopySelectors(n.Selectors)
	return c
}

// nodeLiteral returns a node without selectors.
func nodeLiteral(n *spirev1.AttestedNode) *spirev1.AttestedNode {
	return &spirev1.AttestedNode{
		SpiffeId:            n.SpiffeId,
		AttestationDataType: n.AttestationDataType,
		CertSerialNumber:    n.CertSerialNumber,
		CertNotAfter:        n.CertNotAfter,
		NewCertSerialNumber: n.NewCertSerialNumber,
		NewCertNotAfter:     n.NewCertNotAfter,
		CanReattest:         n.CanReattest,
		AgentVersion:        n.AgentVersion,
	}
}

func copyBytes(b []byte) []byte { return append([]byte(nil), b...) }

func copyAll[T any](in []T, one func(T) T) []T {
	if len(in) == 0 {
		return nil
	}
	out := make([]T, len(in))
	for i := range in {
		out[i] = one(in[i])
	}
	return out
}

// unknownFields is where messages keep what they don't know. Reading it through
// protobuf would write to a message, which may be a caller's.
const unknownFields = "unknownFields"

// withUnknown gives to, which is private, the unknown fields of from.
func withUnknown[M proto.Message](from, to M) M {
	setUnknown(to, UnknownFields(from))
	return to
}

func setUnknown(to proto.Message, unknown []byte) {
	if len(unknown) > 0 {
		to.ProtoReflect().SetUnknown(slices.Clone(unknown))
	}
}

// UnknownFields returns the fields of m, which must not be nil, that this version
// doesn't know. They are m's own.
func UnknownFields(m proto.Message) []byte {
	return reflect.ValueOf(m).Elem().FieldByName(unknownFields).Bytes()
}
