package fsm

import (
	"fmt"

	fsmv1 "github.com/spire-raft/spire-raft/proto/fsm/v1"
	"github.com/spire-raft/spire-raft/store"
)

// CheckTransaction is [CheckCommand] for a command that must be a transaction:
// any other is [store.ErrInvalid], since it would change what only the leader
// may. It tells whether the transaction may add data.
func CheckTransaction(cmd []byte) (grows bool, err error) {
	c, err := checked(cmd)
	if err != nil {
		return false, err
	}
	t, ok := c.Kind.(*fsmv1.Command_Transaction)
	if !ok {
		return false, fmt.Errorf("%w: the command is no transaction", store.ErrInvalid)
	}
	for _, w := range t.Transaction.Writes {
		if w.Kind == fsmv1.Write_KIND_PUT {
			return true, nil
		}
	}
	return false, nil
}
