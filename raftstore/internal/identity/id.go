package identity

import (
	"fmt"

	"github.com/spire-raft/spire-raft/store"
)

// IDBytesMax is the length of the longest cluster or node id.
const IDBytesMax = 128

// CheckID tells whether id can name a cluster or a node: 1 to [IDBytesMax]
// bytes, each one of a-z, 0-9, '.', '_' and '-'. Ids go into certificates,
// gossip and file names, hence the narrow choice. The error wraps
// [store.ErrInvalid].
func CheckID(id string) error {
	if len(id) < 1 || len(id) > IDBytesMax {
		return fmt.Errorf("%w: an id has 1 to %d bytes, not %d", store.ErrInvalid, IDBytesMax, len(id))
	}
	for _, c := range []byte(id) {
		ok := 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-'
		if !ok {
			return fmt.Errorf("%w: id %q may contain a-z, 0-9, '.', '_' and '-' only", store.ErrInvalid, id)
		}
	}
	if id == "." || id == ".." {
		return fmt.Errorf("%w: id %q is a path, not a name", store.ErrInvalid, id)
	}
	return nil
}

// checkGiven checks the ids that a caller chose; it may leave them empty.
func checkGiven(clusterID, nodeID string) error {
	if clusterID != "" {
		if err := CheckID(clusterID); err != nil {
			return fmt.Errorf("cluster id: %w", err)
		}
	}
	if nodeID != "" {
		if err := CheckID(nodeID); err != nil {
			return fmt.Errorf("node id: %w", err)
		}
	}
	return nil
}
