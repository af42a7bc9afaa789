package raftstore

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/fsm"
)

var _ raft.SnapshotStore = (*snapshotStore)(nil)

// snapshotStore shows raft the machine's state as its newest, and only,
// snapshot: the state is on disk at every applied index, so that keeping
// copies of it would only cost space and time. Raft asks for it when a follower
// lags behind the log. On that follower the store receives it.
type snapshotStore struct {
	machine *fsm.Machine

	mu       sync.Mutex // guards received
	received *received
}

func newSnapshotStore(m *fsm.Machine) *snapshotStore { return &snapshotStore{machine: m} }

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
	index, encoded := snap.Configuration()
	if index == 0 {
		return nil, errors.New("the state has no configuration")
	}
	at := snap.Position()
	return &raft.SnapshotMeta{
		Version:            raft.SnapshotVersionMax,
		ID:                 currentID,
		Index:              at.Index,
		Term:               at.Term,
		Configuration:      raft.DecodeConfiguration(encoded),
		ConfigurationIndex: index,
		Size:               snap.Size(),
	}, nil
}

// Open implements [raft.SnapshotStore]. Opening currentID describes and streams
// the state of now, which may be newer than what List described.
func (s *snapshotStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	if id != currentID {
		return s.openReceived(id)
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
	return &sink{store: s, received: &received{
		id: fmt.Sprintf("received-%d-%d", term, index),
		meta: raft.SnapshotMeta{
			Version:            raft.SnapshotVersionMax,
			Index:              index,
			Term:               term,
			Configuration:      c,
			ConfigurationIndex: configurationIndex,
		},
	}}, nil
}

// received is a snapshot from the leader, on its way into the machine.
type received struct {
	id     string
	meta   raft.SnapshotMeta
	upload *fsm.Incoming
}

// Read implements [io.Reader] for raft, which reads nothing: the bytes go from
// the sink into the machine's directory, and Restore installs them there.
func (*received) Read([]byte) (int, error) { return 0, io.EOF }

// Close implements [io.Closer].
func (r *received) Close() error { return r.upload.Discard() }

// receivedFrom returns the received snapshot behind the reader that raft gives
// to Restore.
func receivedFrom(r io.ReadCloser) (*received, error) {
	for {
		switch v := r.(type) {
		case *received:
			return v, nil
		case raft.ReadCloserWrapper:
			r = v.WrappedReadCloser()
		default:
			return nil, fmt.Errorf("restore from a %T: only snapshots of the leader can be restored", r)
		}
	}
}

// openReceived returns the snapshot that a sink has received.
func (s *snapshotStore) openReceived(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.received
	if r == nil || r.id != id {
		return nil, nil, fmt.Errorf("snapshot %q is not here", id)
	}
	s.received = nil
	meta := r.meta
	return &meta, r, nil
}

// sink takes a snapshot. One goroutine uses it.
type sink struct {
	store    *snapshotStore
	received *received
}

// ID implements [raft.SnapshotSink].
func (k *sink) ID() string { return k.received.id }

// Write implements [io.Writer].
func (k *sink) Write(p []byte) (int, error) {
	r := k.received
	if r.upload == nil {
		upload, err := k.store.machine.Receive()
		if err != nil {
			return 0, err
		}
		r.upload = upload
	}
	n, err := r.upload.Write(p)
	r.meta.Size += int64(n)
	return n, err
}

// Close implements [io.Closer]. What was received is complete.
func (k *sink) Close() error {
	r := k.received
	if r.upload == nil {
		return nil // the local state: nothing to keep
	}
	k.store.mu.Lock()
	defer k.store.mu.Unlock()
	if old := k.store.received; old != nil {
		_ = old.upload.Discard() // raft never came back for it
	}
	k.store.received = r
	return nil
}

// Cancel implements [raft.SnapshotSink].
func (k *sink) Cancel() error {
	if k.received.upload == nil {
		return nil
	}
	return k.received.upload.Discard()
}
