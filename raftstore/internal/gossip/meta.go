package gossip

import (
	"fmt"

	"github.com/spire-raft/spire-raft/raftstore/internal/identity"
	"github.com/spire-raft/spire-raft/store"
)

// AddressBytesMax is the length of the longest address that gossip carries.
const AddressBytesMax = 255

// meta is what a node says about itself. On the wire, of 512 bytes at most:
//
//	format: 1 byte, 1 | length: 1 byte | cluster id | length: 1 byte | address | length: 1 byte | instance
//
// The instance is empty where the node doesn't know it yet. Bytes behind it are
// ignored: that is how later versions add to it.
type meta struct {
	clusterID string
	address   string
	instance  string
}

// instanceBytesMax is the length of the longest instance. With it all fits into
// memberlist's meta and label.
const instanceBytesMax = 64

func checkInstance(instance string) error {
	if err := identity.CheckID(instance); err != nil {
		return fmt.Errorf("gossip instance: %w", err)
	}
	if len(instance) > instanceBytesMax {
		return fmt.Errorf("%w: gossip instance of %d bytes, the limit is %d", store.ErrTooLarge, len(instance), instanceBytesMax)
	}
	return nil
}

const metaFormat = 1

func (m meta) encode() []byte {
	b := make([]byte, 0, 4+len(m.clusterID)+len(m.address)+len(m.instance))
	b = append(b, metaFormat, byte(len(m.clusterID)))
	b = append(b, m.clusterID...)
	b = append(b, byte(len(m.address)))
	b = append(b, m.address...)
	b = append(b, byte(len(m.instance)))
	return append(b, m.instance...)
}

func decodeMeta(b []byte) (meta, error) {
	if len(b) == 0 || b[0] != metaFormat {
		return meta{}, fmt.Errorf("%w: gossip meta of unknown format", store.ErrInvalid)
	}
	clusterID, b, ok := cutString(b[1:])
	if !ok {
		return meta{}, fmt.Errorf("%w: gossip meta is cut off in the cluster id", store.ErrInvalid)
	}
	address, b, ok := cutString(b)
	if !ok {
		return meta{}, fmt.Errorf("%w: gossip meta is cut off in the address", store.ErrInvalid)
	}
	instance, _, ok := cutString(b)
	if !ok {
		return meta{}, fmt.Errorf("%w: gossip meta is cut off in the instance", store.ErrInvalid)
	}
	m := meta{clusterID: clusterID, address: address, instance: instance}
	if err := identity.CheckID(clusterID); err != nil {
		return meta{}, fmt.Errorf("gossip meta: cluster id: %w", err)
	}
	if instance != "" {
		if err := checkInstance(instance); err != nil {
			return meta{}, err
		}
	}
	return m, checkAddress(address)
}

// cutString splits a string with a length byte off b.
func cutString(b []byte) (string, []byte, bool) {
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return "", nil, false
	}
	n := 1 + int(b[0])
	return string(b[1:n]), b[n:], true
}
