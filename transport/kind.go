package transport

import (
	"fmt"
	"slices"
)

// Kind says what a stream is for.
type Kind uint8

// The kinds of stream.
const (
	Raft Kind = iota + 1 // the Raft protocol
	Peer                 // calls between members
	Join                 // calls of a node that wants to become a member
)

// kinds lists every Kind, and alpn names them on the wire. The number at the
// end is the version of what is spoken.
var (
	kinds = []Kind{Raft, Peer, Join}
	alpn  = []string{"spire-raft/raft/2", "spire-raft/peer/2", "spire-raft/join/2"}
)

// ALPN is the name of k in the TLS handshake.
func (k Kind) ALPN() string {
	if !k.valid() {
		return ""
	}
	return alpn[k-1]
}

func (k Kind) valid() bool { return slices.Contains(kinds, k) }

// String formats k for logs.
func (k Kind) String() string {
	switch k {
	case Raft:
		return "raft"
	case Peer:
		return "peer"
	case Join:
		return "join"
	default:
		return fmt.Sprintf("kind %d", uint8(k))
	}
}

// kindOf returns the Kind of a negotiated protocol, and whether it has one.
func kindOf(protocol string) (Kind, bool) {
	i := slices.Index(alpn, protocol)
	return Kind(i + 1), i >= 0
}
