package fsm

import (
	"encoding/binary"
	"fmt"

	fsmv1 "github.com/spire-raft/spire-raft/proto/fsm/v1"
)

// Admission is what a node was admitted with. It goes with the node's removal.
type Admission struct {
	DiskID string
	Key    KeyHash

	// Index is that of the log entry that has admitted the node, or has changed
	// its key.
	Index uint64

	// Openings is how often the node has opened its data directory, by the last
	// RecordOpening.
	Openings uint64
}

// An admission's record is Index, Openings, Key and DiskID.
const admissionHeadBytes = 8 + 8 + len(KeyHash{})

func (a Admission) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, a.Index)
	b = binary.BigEndian.AppendUint64(b, a.Openings)
	b = append(b, a.Key[:]...)
	return append(b, a.DiskID...)
}

func decodeAdmission(key, body []byte) (Admission, error) {
	if len(body) < admissionHeadBytes {
		return Admission{}, corrupt(bucketAdmissions, key, "the record is too short")
	}
	return Admission{
		DiskID:   string(body[admissionHeadBytes:]),
		Key:      KeyHash(body[16:admissionHeadBytes]),
		Index:    binary.BigEndian.Uint64(body),
		Openings: binary.BigEndian.Uint64(body[8:]),
	}, nil
}

func (b *batch) admission(nodeID string) (a Admission, found bool, err error) {
	key := []byte(nodeID)
	body, err := b.buckets[bucketAdmissions].findSealed(key)
	if err != nil || body == nil {
		return a, false, err
	}
	a, err = decodeAdmission(key, body)
	return a, true, err
}

// setAdmission stores what a node is admitted with.
func (b *batch) setAdmission(nodeID string, a Admission) error {
	key := []byte(nodeID)
	old, err := b.buckets[bucketAdmissions].findSealed(key)
	if err != nil {
		return err
	}
	b.put(bucketAdmissions, key, old, a.encode())
	return nil
}

// admit admits a node with a disk and a key. How often it was opened stays.
func (b *batch) admit(nodeID, diskID string, key KeyHash) error {
	a, _, err := b.admission(nodeID)
	if err != nil {
		return err
	}
	return b.setAdmission(nodeID, Admission{DiskID: diskID, Key: key, Index: b.state.index, Openings: a.Openings})
}

func (b *batch) initCluster(c *fsmv1.InitCluster) (Result, error) {
	if b.state.instance != "" {
		return b.refuse(Refused, fmt.Sprintf("the cluster is instance %q already", b.state.instance)), nil
	}
	b.state.instance = c.Instance
	if len(c.Certificate) > 0 {
		b.setAuthority(Authority{}, Authority{TrustDomain: c.TrustDomain, Certificate: c.Certificate, Key: c.Key})
	}
	return b.done(), b.admit(c.NodeId, c.DiskId, KeyHash(c.KeyHash))
}

func (b *batch) recordOpening(c *fsmv1.RecordOpening) (Result, error) {
	a, found, err := b.admission(c.NodeId)
	switch {
	case err != nil:
		return Result{}, err
	case !found:
		return b.refuse(Refused, fmt.Sprintf("node %q is not admitted", c.NodeId)), nil
	case a.DiskID != c.DiskId:
		return b.refuse(Refused, fmt.Sprintf("node %q was admitted with another disk", c.NodeId)), nil
	case c.Counter <= a.Openings:
		return b.refuse(Refused, fmt.Sprintf("node %q was opened %d times already, this is number %d: another process runs on a copy of its data directory, or an old copy was put back",
			c.NodeId, a.Openings, c.Counter)), nil
	}
	a.Openings = c.Counter
	return b.done(), b.setAdmission(c.NodeId, a)
}
