package fsm

import (
	"encoding/binary"
	"fmt"
	"slices"

	fsmv1 "github.com/spire-raft/spire-raft/proto/fsm/v1"
)

// Admission is what a node was admitted with. It goes with the node's removal.
type Admission struct {
	DiskID string
	Key    KeyHash

	// Index is that of the log entry that has admitted the node, or has changed
	// its key.
	Index uint64

	// Opening is the last opening of the node's data directory that was recorded,
	// zero if none was.
	Opening Opening
}

// Recognizes tells whether a process that knows of these openings, with rising
// numbers, can be the one on the node's data directory: it knows the one that was
// recorded last, or has learned of later ones that this machine has not applied.
// Else it runs on a copy of the directory, or the directory is an old copy.
func (a Admission) Recognizes(openings []Opening) bool {
	if a.Opening.Number == 0 || len(openings) > 0 && openings[0].Number > a.Opening.Number {
		return true
	}
	return slices.Contains(openings, a.Opening)
}

// Takes tells whether a join token lets the node that was admitted ask again with
// a key. Another key than the admitted one is taken with the token that admitted
// the node, and only as long as the node has never spoken to the cluster: the
// answer that told it that it is in may have been lost. Its disk is no secret, so
// that else who sees the token later, or may make one, would be the node.
func (a Admission) Takes(t JoinToken, key KeyHash) bool {
	return a.Key == key || t.UsedBy != "" && a.Opening.Number == 0
}

// An admission's record is Index, Opening, Key and DiskID.
const admissionHeadBytes = 8 + openingBytes + len(KeyHash{})

func (a Admission) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, a.Index)
	b = appendOpenings(b, []Opening{a.Opening})
	b = append(b, a.Key[:]...)
	return append(b, a.DiskID...)
}

func decodeAdmission(key, body []byte) (Admission, error) {
	if len(body) < admissionHeadBytes {
		return Admission{}, corrupt(bucketAdmissions, key, "the record is too short")
	}
	return Admission{
		DiskID:  string(body[admissionHeadBytes:]),
		Key:     KeyHash(body[8+openingBytes : admissionHeadBytes]),
		Index:   binary.BigEndian.Uint64(body),
		Opening: openingsIn(body[8 : 8+openingBytes])[0],
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

// admit admits a node with a disk and a key. Its opening stays.
func (b *batch) admit(nodeID, diskID string, key KeyHash) error {
	a, _, err := b.admission(nodeID)
	if err != nil {
		return err
	}
	return b.setAdmission(nodeID, Admission{DiskID: diskID, Key: key, Index: b.state.index, Opening: a.Opening})
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
	}
	openings := openingsIn(c.Openings)
	last := openings[len(openings)-1]
	switch {
	case a.Opening == last:
		return b.done(), nil
	case a.Opening.Number > 0 && !slices.Contains(openings, a.Opening):
		return b.refuse(Refused, fmt.Sprintf("node %q shows opening %d of its data directory, but not number %d, which was recorded: another process runs on a copy of the directory, or an old copy was put back",
			c.NodeId, last.Number, a.Opening.Number)), nil
	}
	a.Opening = last
	return b.done(), b.setAdmission(c.NodeId, a)
}
