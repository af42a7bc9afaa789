package fsm

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	fsmv1 "github.com/spire-raft/spire-raft/proto/fsm/v1"
	"github.com/spire-raft/spire-raft/store"
)

// Origin tells where a command comes from, and what for. The leader that proposes
// it says so.
type Origin struct {
	// Term is the only one in which the command may take effect: in an entry of
	// another term it is [Lapsed]. So a request that reaches a later leader, or
	// the same one in a later term, does nothing however late that is, and once
	// an entry of a later term is committed everything is there that will ever
	// come of it.
	Term uint64

	// Session is one run of one node, Request the number of the request among
	// those of the session. Every server has them with the [Result], so the node
	// that asked knows what became of a request whose answer was lost. Both are
	// 0 for a command that nobody looks for.
	Session, Request uint64
}

// Numbers of the fields of message Command that hold an origin.
const (
	commandSessionField protowire.Number = 1
	commandRequestField protowire.Number = 2
	commandTermField    protowire.Number = 4
)

// WithOrigin returns a copy of cmd, which has no origin, with one.
func WithOrigin(cmd []byte, o Origin) []byte {
	fields := [...]struct {
		number protowire.Number
		value  uint64
	}{{commandSessionField, o.Session}, {commandRequestField, o.Request}, {commandTermField, o.Term}}
	b := make([]byte, len(cmd), len(cmd)+len(fields)*(1+binary.MaxVarintLen64))
	copy(b, cmd)
	for _, f := range fields {
		if f.value != 0 {
			b = protowire.AppendTag(b, f.number, protowire.VarintType)
			b = protowire.AppendVarint(b, f.value)
		}
	}
	return b
}

// CheckTransaction is [CheckCommand] for a command that must be a transaction
// and have no origin: any other is [store.ErrInvalid], since it would change what
// only the leader may, or say what only the leader does. It tells whether the
// transaction may add data.
func CheckTransaction(cmd []byte) (grows bool, err error) {
	c, err := checked(cmd)
	if err != nil {
		return false, err
	}
	t, ok := c.Kind.(*fsmv1.Command_Transaction)
	if !ok {
		return false, fmt.Errorf("%w: the command is no transaction", store.ErrInvalid)
	}
	if c.Session != 0 || c.Request != 0 || c.Term != 0 {
		return false, fmt.Errorf("%w: the command has an origin already", store.ErrInvalid)
	}
	for _, w := range t.Transaction.Writes {
		if w.Kind == fsmv1.Write_KIND_PUT {
			return true, nil
		}
	}
	return false, nil
}
