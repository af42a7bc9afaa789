package fsm

import (
	"fmt"

	"github.com/spire-raft/spire-raft/internal/boltfile"

	fsmv1 "github.com/spire-raft/spire-raft/proto/fsm/v1"
	"github.com/spire-raft/spire-raft/store"
)

// EntryKind tells what the data of an entry is.
type EntryKind uint8

// The kinds of entry.
const (
	// EntryCommands has an envelope of commands: see [EncodeEnvelope].
	EntryCommands EntryKind = iota + 1

	// EntryConfiguration has a configuration of the cluster. The machine keeps
	// the last one, and its bytes count into the state hash: they must be those
	// of the log.
	EntryConfiguration
)

// Entry is an entry of the replicated log. Indexes ascend; there may be gaps
// where the log has entries of no concern to the machine.
type Entry struct {
	Index uint64
	Term  uint64
	Kind  EntryKind
	Data  []byte
}

// Outcome is what became of a command. It is the same on every machine.
type Outcome uint8

// The outcomes of a command.
const (
	// Committed: the command took effect, or had nothing to do.
	Committed Outcome = iota + 1

	// Conflict: something that the transaction had read has changed. It changed
	// nothing.
	Conflict

	// Invalid: the command can't be right, or is not within the limits. It
	// changed nothing. Detail says why.
	Invalid

	// Refused: the state forbids it, as for a join token that was used. Detail
	// says why.
	Refused
)

// String returns the outcome in lower case.
func (o Outcome) String() string {
	switch o {
	case Committed:
		return "committed"
	case Conflict:
		return "conflict"
	case Invalid:
		return "invalid"
	case Refused:
		return "refused"
	default:
		return fmt.Sprintf("outcome %d", uint8(o))
	}
}

// Result is what a command came to.
type Result struct {
	Outcome Outcome

	// Revision is the newest one behind the command: the transaction's own, if
	// it changed something. For a conflict it is one at which that exists.
	Revision store.Revision

	// Numbers are the sequence numbers that a transaction took, in its order.
	Numbers []uint64

	// Detail explains the outcomes Invalid and Refused.
	Detail string
}

// Apply applies entries in order. It returns the results of each entry's
// commands, none for a configuration. Entries at or below the applied index are
// skipped and have nil results: a replay after a crash is harmless. It keeps
// nothing of entries.
//
// What is applied is visible, and reaches the disk later: see [Machine.Flush]
// and [Options.FlushBytes]. Apply waits for the disk only where that is slower
// than entries come.
//
// An error stops the machine, and every later call returns it; it never means
// that a command was rejected, which is a Result. Where an entry can't be
// applied, because it is damaged or of a later version ([ErrTooNew]), those
// before it are applied all the same. After any other error the results must be
// taken as unknown outcomes.
//
// Calls are serialised with each other and with Install.
func (m *Machine) Apply(entries []Entry) ([][]Result, error) {
	results, err := m.apply(entries)
	if err == nil && m.opts.FlushBytes < 0 {
		err = m.Flush()
	}
	if err != nil {
		return nil, err
	}
	return results, nil
}

func (m *Machine) apply(entries []Entry) ([][]Result, error) {
	m.applyMu.Lock()
	defer m.applyMu.Unlock()
	m.makeRoom()
	if err := m.usable(); err != nil {
		return nil, err
	}
	results := make([][]Result, len(entries))
	work, workErr := m.decode(entries)
	if len(work) > 0 {
		if err := m.commit(work, results); err != nil {
			return nil, m.fail(err)
		}
	}
	if workErr != nil {
		return nil, m.fail(workErr)
	}
	m.flushIfFull()
	return results, nil
}

// workEntry is an entry to be applied, decoded.
type workEntry struct {
	*Entry
	at       int // its place in the entries of Apply
	commands []*fsmv1.Command
}

// decode returns what there is to apply: the entries above the applied index,
// up to the first that can't be, for which it returns the error too.
func (m *Machine) decode(entries []Entry) ([]workEntry, error) {
	work := make([]workEntry, 0, len(entries))
	last := uint64(0)
	for i := range entries {
		e := &entries[i]
		if e.Index <= last {
			return work, fmt.Errorf("%w: entry %d comes after entry %d", store.ErrInvalid, e.Index, last)
		}
		last = e.Index
		if e.Index == m.state.index && e.Term != m.state.term {
			return work, fmt.Errorf("%w: entry %d is of term %d here, but one of term %d was applied: the log was overwritten",
				store.ErrCorrupt, e.Index, e.Term, m.state.term)
		}
		if e.Index <= m.state.index {
			continue
		}
		w := workEntry{Entry: e, at: i}
		if err := w.decode(); err != nil {
			return work, fmt.Errorf("apply entry %d of term %d: %w", e.Index, e.Term, err)
		}
		work = append(work, w)
	}
	return work, nil
}

func (w *workEntry) decode() error {
	switch w.Kind {
	case EntryConfiguration:
		return nil
	case EntryCommands:
		raw, err := decodeEnvelope(w.Data)
		if err != nil {
			return err
		}
		w.commands = make([]*fsmv1.Command, len(raw))
		for i := range raw {
			if w.commands[i], err = decodeCommand(raw[i]); err != nil {
				return err
			}
			if err := checkSupported(w.commands[i]); err != nil {
				return err
			}
		}
		return nil
	default:
		return fmt.Errorf("%w: an entry of kind %d", store.ErrInvalid, w.Kind)
	}
}

// commit applies work to the newest layer and publishes it. After an error that
// layer has some of it, so it is never written.
func (m *Machine) commit(work []workEntry, results [][]Result) (err error) {
	tx, err := m.db.begin()
	if err != nil {
		return err
	}
	defer tx.end()
	hashes := make([]indexHash, 0, len(work))
	err = boltfile.Guard("apply", func() error {
		b, err := newBatch(tx.Tx, [layersMax]*layer{m.active, m.frozen}, m.state, m.scratch)
		if err != nil {
			return err
		}
		for i := range work {
			w := &work[i]
			if results[w.at], err = b.entry(w); err != nil {
				return fmt.Errorf("apply entry %d: %w", w.Index, err)
			}
			hashes = append(hashes, indexHash{w.Index, b.state.hash()})
		}
		m.state = b.state
		return nil
	})
	if err != nil {
		return err
	}
	m.hashes.add(hashes)
	m.publish()
	return nil
}

// entry applies one entry.
func (b *batch) entry(w *workEntry) ([]Result, error) {
	b.state.index, b.state.term = w.Index, w.Term
	if w.Kind == EntryConfiguration {
		b.configure(w.Index, w.Data)
		return nil, nil
	}
	results := make([]Result, len(w.commands))
	for i, c := range w.commands {
		var err error
		if results[i], err = b.command(c); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// command applies one command.
func (b *batch) command(c *fsmv1.Command) (Result, error) {
	if level := requiredLevel(c); level > b.state.level {
		return b.refuse(Invalid, fmt.Sprintf("the command needs feature level %d, the cluster is at %d", level, b.state.level)), nil
	}
	if err := checkCommand(c); err != nil {
		return b.refuse(Invalid, err.Error()), nil
	}
	switch kind := c.Kind.(type) {
	case *fsmv1.Command_Transaction:
		return b.transaction(kind.Transaction)
	case *fsmv1.Command_TermStart:
		b.state.termStartIndex, b.state.termStartTerm = b.state.index, b.state.term
	case *fsmv1.Command_RaiseFeatureLevel:
		if kind.RaiseFeatureLevel.Level < b.state.level {
			return b.refuse(Invalid, fmt.Sprintf("the cluster is at feature level %d already, which can't be lowered", b.state.level)), nil
		}
		b.state.level = kind.RaiseFeatureLevel.Level
	case *fsmv1.Command_SetHistoryBudget:
		b.state.historyBudget = kind.SetHistoryBudget.Bytes
		return b.done(), b.trim()
	case *fsmv1.Command_AddJoinToken:
		return b.addToken(kind.AddJoinToken)
	case *fsmv1.Command_UseJoinToken:
		return b.useToken(kind.UseJoinToken)
	case *fsmv1.Command_RemoveNode:
		return b.removeNode(kind.RemoveNode.NodeId)
	case *fsmv1.Command_InitCluster:
		return b.initCluster(kind.InitCluster)
	case *fsmv1.Command_RevokeJoinToken:
		return b.revokeToken(TokenID(kind.RevokeJoinToken.Id))
	case *fsmv1.Command_RecordOpening:
		return b.recordOpening(kind.RecordOpening)
	case *fsmv1.Command_ChangeAuthority:
		return b.changeAuthority(kind.ChangeAuthority)
	case *fsmv1.Command_SetGossipKeys:
		return b.setGossipKeys(kind.SetGossipKeys)
	case *fsmv1.Command_RotateGossipKey:
		if found, err := b.rotateGossipKey(); err != nil || !found {
			return b.refuse(Refused, "the cluster has no gossip key of its own"), err
		}
	default:
		// decodeCommand knows all kinds; one that it lets through and that is
		// not here would make this machine skip what others do.
		return Result{}, fmt.Errorf("%w: a command of kind %T", ErrTooNew, kind)
	}
	return b.done(), nil
}
