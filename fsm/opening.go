package fsm

import (
	"encoding/binary"
	"fmt"

	"github.com/spire-raft/spire-raft/store"
)

// Opening is one time that a node has opened its data directory. Two processes on
// copies of a directory may have the same numbers, but not the same nonces.
type Opening struct {
	Number uint64 // from 1
	Nonce  [16]byte
}

// OpeningsMax is how many openings a node shows at the most.
const OpeningsMax = 16

const openingBytes = 8 + 16

func appendOpenings(b []byte, openings []Opening) []byte {
	for _, o := range openings {
		b = binary.BigEndian.AppendUint64(b, o.Number)
		b = append(b, o.Nonce[:]...)
	}
	return b
}

// openingsIn decodes what appendOpenings has appended.
func openingsIn(b []byte) []Opening {
	openings := make([]Opening, len(b)/openingBytes)
	for i := range openings {
		at := b[i*openingBytes:]
		openings[i] = Opening{Number: binary.BigEndian.Uint64(at), Nonce: [16]byte(at[8:])}
	}
	return openings
}

func checkOpenings(b []byte) error {
	if len(b) == 0 || len(b)%openingBytes != 0 || len(b) > OpeningsMax*openingBytes {
		return fmt.Errorf("%w: 1 to %d openings of %d bytes, not %d bytes", store.ErrInvalid, OpeningsMax, openingBytes, len(b))
	}
	last := uint64(0)
	for _, o := range openingsIn(b) {
		if o.Number <= last {
			return fmt.Errorf("%w: opening %d comes after opening %d", store.ErrInvalid, o.Number, last)
		}
		last = o.Number
	}
	return nil
}
