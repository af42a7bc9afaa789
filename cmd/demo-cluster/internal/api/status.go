package api

import (
	"time"

	"github.com/spire-raft/spire-raft/store"
)

// RoleLeader is the role of the server that leads.
const RoleLeader = "leader"

// Status is what a server says of itself.
type Status struct {
	Node   string `json:"node"`
	Role   string `json:"role"`
	Term   uint64 `json:"term"`
	Leader string `json:"leader"`

	// AppliedIndex is the last log entry that changed the server's state, Hash
	// the hash of that whole state. Servers with the same index must have the
	// same hash.
	AppliedIndex uint64         `json:"applied_index"`
	Revision     store.Revision `json:"revision"`
	Hash         string         `json:"hash"`

	// Voters are the servers that count for a majority.
	Voters []string `json:"voters"`

	// CertificateNotAfter is when the server's own certificate ends, unless it is
	// renewed before.
	CertificateNotAfter time.Time `json:"certificate_not_after"`

	// AuthorityNotAfter is when the cluster's own authority ends, unless it is
	// replaced before. Rotation is the step of its replacement, empty where there
	// is none, and RotationWaitsFor whom the leader waits for.
	AuthorityNotAfter time.Time `json:"authority_not_after"`
	Rotation          string    `json:"rotation,omitempty"`
	RotationWaitsFor  []string  `json:"rotation_waits_for,omitempty"`

	// Diverged tells that the server has seen another with a different hash at
	// the same index.
	Diverged bool `json:"diverged"`
}
