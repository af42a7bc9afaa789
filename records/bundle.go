package records

import (
	"google.golang.org/protobuf/proto"

	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
)

// Bundles are found by [FieldID], besides their item. That record is written
// when a bundle is created and deleted with it, so that who only asks whether
// there is a bundle doesn't conflict with changes of it.
var Bundles = &Kind[*spirev1.Bundle]{
	typ:     "bundle",
	id:      func(b *spirev1.Bundle) string { return b.TrustDomainId },
	message: func(b *spirev1.Bundle) proto.Message { return CopyBundle(b) },
	decode: func(_ string, message []byte) (*spirev1.Bundle, error) {
		m, err := unmarshal[spirev1.Bundle](message)
		if err != nil {
			return nil, err
		}
		return withUnknown(m, &spirev1.Bundle{
			TrustDomainId:  m.TrustDomainId,
			RootCas:        m.RootCas,
			JwtSigningKeys: m.JwtSigningKeys,
			RefreshHint:    m.RefreshHint,
			SequenceNumber: m.SequenceNumber,
			WitSigningKeys: m.WitSigningKeys,
		}), nil
	},
	index: func(b *spirev1.Bundle, x *indexer) { x.add(FieldID, b.TrustDomainId) },
}
