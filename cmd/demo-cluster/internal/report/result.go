package report

import (
	"encoding/json"
	"io"
)

// Result is the JSON object that a run ends with.
type Result struct {
	OK       bool   `json:"ok"`
	Scenario string `json:"scenario"`
	Nodes    int    `json:"nodes"`

	// Acked counts the acknowledged writes, Lost those of them that are gone,
	// Duplicated those that show twice in the history. Ambiguous writes are
	// those whose writer could not know whether they happened.
	Acked      int `json:"acked"`
	Lost       int `json:"lost"`
	Ambiguous  int `json:"ambiguous"`
	Duplicated int `json:"duplicated"`

	Failovers []Failover `json:"failovers"`
	Watch     Watch      `json:"watch"`

	// HashEqual tells that all servers had the same state hash at one index.
	HashEqual bool `json:"hash_equal"`

	// Propagation is the time from the sending of a new registration entry to
	// one server until an agent of another server is given it, while nothing was
	// disturbed.
	Propagation Percentiles `json:"propagation"`

	// AuthorizedPerSecond is how often in a second an agent was told which
	// entries it may have, while the load went on.
	AuthorizedPerSecond float64 `json:"authorized_per_s"`

	// DataStoreOps counts the operations on SPIRE's DataStore that the servers
	// did and answered. What agents ask is answered from a cache and is none.
	DataStoreOps int `json:"datastore_ops"`

	// DisksReplaced counts the servers that lost their disk for good and were
	// replaced by others, which had a vote in the end.
	DisksReplaced int `json:"disks_replaced"`

	// CertificateRenewals counts the certificates of servers that were seen to be
	// renewed.
	CertificateRenewals int `json:"certificate_renewals"`

	// AuthorityRotations counts how often the cluster's certificate authority was
	// replaced by another one, while the cluster went on.
	AuthorityRotations int `json:"authority_rotations"`

	// Error says why OK is false.
	Error string `json:"error,omitempty"`
}

// Failover is one case of a cluster that lost its leader.
type Failover struct {
	// RecoveryMS is the time from the loss of the leader to the first
	// acknowledged write that began after it, in milliseconds.
	RecoveryMS float64 `json:"recovery_ms"`

	// Cause is what was done to the leader, in words.
	Cause string `json:"-"`
}

// Watch adds up what all watchers saw. The percentiles are the time from the
// sending of a write through one server to its arrival at the watchers of the
// others, in milliseconds, while nothing was disturbed.
type Watch struct {
	Events     int     `json:"events"`
	Gaps       int     `json:"gaps"`
	Duplicates int     `json:"duplicates"`
	OutOfOrder int     `json:"out_of_order"`
	P50MS      float64 `json:"p50_ms"`
	P99MS      float64 `json:"p99_ms"`
}

// Percentiles are durations in milliseconds that half of all and 99 % of all
// don't exceed.
type Percentiles struct {
	P50MS float64 `json:"p50_ms"`
	P99MS float64 `json:"p99_ms"`
}

// WriteJSON writes r on a line of its own.
func (r Result) WriteJSON(w io.Writer) error {
	if r.Failovers == nil {
		r.Failovers = []Failover{} // an empty list, not null
	}
	return json.NewEncoder(w).Encode(r)
}
