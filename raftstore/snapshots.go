package raftstore

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/fsm"
)

var _ raft.SnapshotStore = (*snapshotStore)(nil)

// snapshotStore shows raft the machine's state as its newest, and only,
// snapshot: what of it is on disk is whole at one applied index, so that keeping
// copies of it would only cost space and time. Raft asks for it when it starts,
// to know from which entry on to replay the log, and when a follower lags behind
// the log.
//
// On that follower the sink is the machine itself, which installs what it
// receives when it has verified all of it. Raft's restore then finds it done.
// That the machine is ahead of raft in between is harmless: it skips entries
// that it has, and a restart begins at what it has.
type snapshotStore struct {
	machine  *fsm.Machine
	logs     raft.LogStore
	trailing atomic.Uint64 // entries that raft keeps at the end of the log

	mu        sync.Mutex // guards installed
	installed *raft.SnapshotMeta
}

func newSnapshotStore(m *fsm.Machine, logs raft.LogStore, trailing uint64) *snapshotStore {
	s := &snapshotStore{machine: m, logs: logs}
	s.trailing.Store(trailing)
	return s
}

// currentID is the id of the machine's own state.
const currentID = "current"

// List implements [raft.SnapshotStore].
func (s *snapshotStore) List() ([]*raft.SnapshotMeta, error) {
	snap, err := s.machine.Snapshot()
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	if snap.Position().Index == 0 {
		return nil, nil // nothing was applied yet
	}
	meta, err := metaOf(snap)
	if err != nil {
		return nil, err
	}
	return []*raft.SnapshotMeta{meta}, nil
}

// metaOf describes snap to raft. The configuration is the one in the snapshot:
// an applied state always has one, since the first entry of a log is one.
func metaOf(snap *fsm.Snapshot) (*raft.SnapshotMeta, error) {
	at := snap.Position()
	if at.ConfigurationIndex == 0 {
		return nil, errors.New("the state has no configuration")
	}
	return &raft.SnapshotMeta{
		Version:            raft.SnapshotVersionMax,
		ID:                 currentID,
		Index:              at.Index,
		Term:               at.Term,
		Configuration:      raft.DecodeConfiguration(snap.Configuration()),
		ConfigurationIndex: at.ConfigurationIndex,
		Size:               snap.Size(),
	}, nil
}

// Open implements [raft.SnapshotStore]. Opening currentID describes and streams
// the state of now, which may be newer than what List described.
func (s *snapshotStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	if id != currentID {
		return s.openInstalled(id)
	}
	snap, err := s.machine.Snapshot()
	if err != nil {
		return nil, nil, err
	}
	meta, err := metaOf(snap)
	if err != nil {
		snap.Close()
		return nil, nil, err
	}
	return meta, newSnapshotReader(snap), nil
}

// openInstalled describes a snapshot that was installed. There is nothing to
// read of it.
func (s *snapshotStore) openInstalled(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.installed == nil || s.installed.ID != id {
		return nil, nil, fmt.Errorf("snapshot %q is not here", id)
	}
	meta := *s.installed
	return &meta, io.NopCloser(strings.NewReader("")), nil
}

// snapshotReader streams a snapshot to raft, which wants to read where the
// machine wants to write.
type snapshotReader struct {
	*io.PipeReader
	snap *fsm.Snapshot
	done chan struct{}
}

func newSnapshotReader(snap *fsm.Snapshot) *snapshotReader {
	pr, pw := io.Pipe()
	r := &snapshotReader{PipeReader: pr, snap: snap, done: make(chan struct{})}
	go func() { // ends when all is read, or at Close
		defer close(r.done)
		_, err := snap.WriteTo(pw)
		pw.CloseWithError(err)
	}()
	return r
}

// Close ends the stream and releases the snapshot.
func (r *snapshotReader) Close() error {
	err := r.PipeReader.Close()
	<-r.done
	r.snap.Close()
	return err
}

// Create implements [raft.SnapshotStore]. Raft calls it for a snapshot of the
// local state, which writes nothing to the sink, and for one that the leader
// sends.
func (s *snapshotStore) Create(_ raft.SnapshotVersion, index, term uint64, c raft.Configuration,
	configurationIndex uint64, _ raft.Transport,
) (raft.SnapshotSink, error) {
	return &sink{store: s, meta: &raft.SnapshotMeta{
		Version:            raft.SnapshotVersionMax,
		ID:                 fmt.Sprintf("installed-%d-%d", term, index),
		Index:              index,
		Term:               term,
		Configuration:      c,
		ConfigurationIndex: configurationIndex,
	}}, nil
}

// errCanceled ends an install whose stream was cut off.
var errCanceled = errors.New("snapshot canceled by the receiver")

// sink takes a snapshot. One goroutine uses it.
type sink struct {
	store *snapshotStore
	meta  *raft.SnapshotMeta

	stream *io.PipeWriter // nil until the first write
	done   chan struct{}  // closed when the install that reads stream has ended
	err    error          // of the install, once done
}

// ID implements [raft.SnapshotSink].
func (k *sink) ID() string { return k.meta.ID }

// Write implements [io.Writer].
func (k *sink) Write(p []byte) (int, error) {
	if k.stream == nil {
		pr, pw := io.Pipe()
		k.stream, k.done = pw, make(chan struct{})
		go func() { // ends with the stream, which Close or Cancel ends
			defer close(k.done)
			k.err = k.store.machine.Install(pr)
			pr.CloseWithError(k.err)
		}()
	}
	n, err := k.stream.Write(p)
	k.meta.Size += int64(n)
	return n, err
}

// Close implements [io.Closer]: it returns when the snapshot is installed.
func (k *sink) Close() error {
	if k.stream == nil {
		return k.store.covers(k.meta.Index)
	}
	k.stream.Close()
	<-k.done
	if k.err != nil {
		return k.err
	}
	k.store.mu.Lock()
	defer k.store.mu.Unlock()
	k.store.installed = k.meta
	return nil
}

// covers returns an error where raft would drop entries that the state does not
// have when it is told that the state is a snapshot at index. Entries that are
// raft's own, at the end of the log, are in that index but not in the state's.
func (s *snapshotStore) covers(index uint64) error {
	last, err := s.logs.LastIndex()
	if err != nil {
		return err
	}
	dropped := min(index, last-min(last, s.trailing.Load())+growthWhileCompacting)
	if durable := s.machine.DurableIndex(); dropped > durable {
		return fmt.Errorf("the log would be dropped up to index %d, the state on disk is at %d", dropped, durable)
	}
	return nil
}

// growthWhileCompacting is by how many entries the log may grow until raft drops
// its beginning.
const growthWhileCompacting = trailingMin / 2

// Cancel implements [raft.SnapshotSink].
func (k *sink) Cancel() error {
	if k.stream == nil {
		return nil
	}
	_ = k.stream.CloseWithError(errCanceled) // never fails
	<-k.done
	return nil
}
