package fsm

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	fsmv1 "github.com/spire-raft/spire-raft/proto/fsm/v1"
	"github.com/spire-raft/spire-raft/store"
)

// FormatVersion is the version of the database file that this program writes
// and the latest that it reads.
const FormatVersion = 1

// FeatureLevelMax is the latest level of commands that this program can apply.
// FeatureLevelMin is the level of a new machine.
const (
	FeatureLevelMin = 1
	FeatureLevelMax = 1
)

// HistoryBudgetDefault is the history budget of a new machine, in bytes.
// SetHistoryBudget commands change it.
const HistoryBudgetDefault = 128 << 20

// Keys of the meta bucket.
var (
	keyFormat        = []byte("format")
	keyCluster       = []byte("cluster")
	keyState         = []byte("state")
	keyConfiguration = []byte("configuration")
)

// state is what the machine knows of itself at one index. All of it is a
// function of the log.
type state struct {
	index              uint64
	term               uint64
	revision           store.Revision
	epoch              store.Epoch
	compact            store.Revision
	historyBudget      uint64
	level              uint32
	termStartIndex     uint64
	termStartTerm      uint64
	configurationIndex uint64
	configuration      []byte // nil before the first
	instance           string // empty before InitCluster
	sums               [sumCount]sum
}

// newState is the state before the first entry.
func newState() state {
	return state{epoch: 1, historyBudget: HistoryBudgetDefault, level: FeatureLevelMin}
}

func (s *state) encode() ([]byte, error) {
	m := &fsmv1.State{
		Index: s.index, Term: s.term,
		Revision: uint64(s.revision), Epoch: uint64(s.epoch), CompactRevision: uint64(s.compact),
		HistoryBudget: s.historyBudget, FeatureLevel: s.level,
		TermStartIndex: s.termStartIndex, TermStartTerm: s.termStartTerm,
		ConfigurationIndex: s.configurationIndex, Instance: s.instance,
		Sums: make([]*fsmv1.Sum, len(s.sums)),
	}
	for i := range s.sums {
		m.Sums[i] = &fsmv1.Sum{Records: s.sums[i].records, Bytes: s.sums[i].bytes, Lanes: s.sums[i].lanes[:]}
	}
	return proto.Marshal(m)
}

func (s *state) decode(b []byte) error {
	var m fsmv1.State
	if err := proto.Unmarshal(b, &m); err != nil {
		return corrupt(bucketMeta, keyState, err.Error())
	}
	if len(m.ProtoReflect().GetUnknown()) > 0 {
		return fmt.Errorf("%w: the state has fields that format %d has not", ErrTooNew, FormatVersion)
	}
	*s = state{
		index: m.Index, term: m.Term,
		revision: store.Revision(m.Revision), epoch: store.Epoch(m.Epoch), compact: store.Revision(m.CompactRevision),
		historyBudget: m.HistoryBudget, level: m.FeatureLevel,
		termStartIndex: m.TermStartIndex, termStartTerm: m.TermStartTerm,
		configurationIndex: m.ConfigurationIndex, instance: m.Instance,
	}
	if len(m.Sums) != len(s.sums) {
		return corrupt(bucketMeta, keyState, "the number of sums is wrong")
	}
	for i, sum := range m.Sums {
		if len(sum.Lanes) != len(s.sums[i].lanes) {
			return corrupt(bucketMeta, keyState, "the number of lanes is wrong")
		}
		s.sums[i].records, s.sums[i].bytes = sum.Records, sum.Bytes
		copy(s.sums[i].lanes[:], sum.Lanes)
	}
	return nil
}

// metaRecord returns the body of a record of the meta bucket, nil if it isn't
// there.
func metaRecord(tx *bbolt.Tx, key []byte) ([]byte, error) {
	b := tx.Bucket([]byte(bucketMeta.String()))
	if b == nil {
		return nil, corrupt(bucketMeta, key, "the bucket is missing")
	}
	record := b.Get(key)
	if record == nil {
		return nil, nil
	}
	return openSealed(bucketMeta, key, record)
}

// loadState reads the state of a transaction's snapshot. It belongs to the
// caller.
func loadState(tx *bbolt.Tx) (s state, err error) {
	body, err := metaRecord(tx, keyState)
	if err != nil {
		return s, err
	}
	if body == nil {
		return s, corrupt(bucketMeta, keyState, "the record is missing")
	}
	if err := s.decode(body); err != nil {
		return s, err
	}
	configuration, err := metaRecord(tx, keyConfiguration)
	s.configuration = bytes.Clone(configuration)
	return s, err
}

// checkFormat returns an error unless this program reads the file's format and
// the file belongs to the cluster.
func checkFormat(tx *bbolt.Tx, clusterID string) error {
	format, err := metaRecord(tx, keyFormat)
	if err != nil {
		return err
	}
	if len(format) != 4 {
		return corrupt(bucketMeta, keyFormat, "the record is missing or has a wrong size")
	}
	if v := binary.BigEndian.Uint32(format); v != FormatVersion {
		return fmt.Errorf("%w: the database has format %d, this program knows %d", ErrTooNew, v, FormatVersion)
	}
	cluster, err := metaRecord(tx, keyCluster)
	if err != nil {
		return err
	}
	if string(cluster) != clusterID {
		return fmt.Errorf("%w: the data is of cluster %q, this server of %q: put back this server's own data, or use the directory and certificate of that cluster", ErrOtherCluster, cluster, clusterID)
	}
	return nil
}

func putMeta(tx *bbolt.Tx, key, body []byte) error {
	record := appendSealed(nil, bucketMeta, key, body)
	return tx.Bucket([]byte(bucketMeta.String())).Put(key, record)
}
