package fsm

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
)

// StateHash stands for the replicated state: machines that have applied the
// same entries have the same one. It covers every replicated record and number,
// but neither the applied index nor how records are laid out in the file.
type StateHash [sha256.Size]byte

// String returns the hash in hex.
func (h StateHash) String() string { return hex.EncodeToString(h[:]) }

// sum stands for a set of records, in a way that lets one be added or taken
// away at the cost of hashing it alone: the SHA-256 digests of the records are
// added, each quarter modulo 2^64. It finds accidents, not forgers, who could
// solve for records with a given sum.
type sum struct {
	records uint64
	bytes   uint64
	lanes   [4]uint64
}

func (s *sum) add(d *digest) {
	s.records++
	s.bytes += d.bytes
	for i := range s.lanes {
		s.lanes[i] += d.lanes[i]
	}
}

func (s *sum) sub(d *digest) {
	s.records--
	s.bytes -= d.bytes
	for i := range s.lanes {
		s.lanes[i] -= d.lanes[i]
	}
}

// digest stands for one record.
type digest struct {
	bytes uint64
	lanes [4]uint64
}

// hasher makes digests. It is used by one goroutine at a time.
type hasher struct {
	sha  hash.Hash
	head []byte
	out  []byte
}

func newHasher() *hasher { return &hasher{sha: sha256.New()} }

// record returns the digest of a key and of what is stored under it, which
// comes in two parts.
func (h *hasher) record(key, a, b []byte) (d digest) {
	h.sha.Reset()
	h.head = binary.BigEndian.AppendUint32(h.head[:0], uint32(len(key)))
	h.head = append(h.head, key...)
	h.head = append(h.head, a...)
	h.sha.Write(h.head)
	h.sha.Write(b)
	h.out = h.sha.Sum(h.out[:0])
	d.bytes = uint64(len(key) + len(a) + len(b))
	for i := range d.lanes {
		d.lanes[i] = binary.BigEndian.Uint64(h.out[8*i:])
	}
	return d
}

// stateHashDomain keeps state hashes apart from other digests, and from those
// of versions that count something else as state.
const stateHashDomain = "spire-raft state 1"

// hash returns the state hash.
func (s *state) hash() StateHash {
	buf := make([]byte, 0, 512)
	buf = append(buf, stateHashDomain...)
	for _, n := range []uint64{
		uint64(s.revision), uint64(s.epoch), uint64(s.compact), s.historyBudget, uint64(s.level),
		s.termStartIndex, s.termStartTerm, s.configurationIndex,
	} {
		buf = binary.BigEndian.AppendUint64(buf, n)
	}
	for i := range s.sums {
		sum := &s.sums[i]
		buf = binary.BigEndian.AppendUint64(buf, sum.records)
		buf = binary.BigEndian.AppendUint64(buf, sum.bytes)
		for _, lane := range sum.lanes {
			buf = binary.BigEndian.AppendUint64(buf, lane)
		}
	}
	return sha256.Sum256(append(buf, s.instance...)) // last: the rest has a fixed size
}
