package raftnet

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	raftv1 "github.com/spire-raft/spire-raft/proto/raft/v1"
)

const (
	transferIDBytes = 16

	// keepIncoming is how long the part of a snapshot that has arrived waits for
	// the rest. It is more than a sender goes on without any progress.
	keepIncoming = time.Minute

	// installTick is the time between signs that a snapshot is being installed.
	installTick = time.Second
)

// snapshotWait bounds the wait for the next chunk, and for its answer. It has
// room for a disk that stalls.
func (t *Transport) snapshotWait() time.Duration { return 3 * t.cfg.Timeout }

// incoming is a snapshot that comes in. There is one at a time.
type incoming struct {
	begin *raftv1.SnapshotBegin
	peer  string

	// Only the stream that feeds it uses these.
	file   *os.File
	offset uint64 // bytes in file

	// Transport.mu guards the fields below.
	feeder     *inbound      // nil while no stream feeds it
	released   chan struct{} // closed when feeder lets go
	installing bool          // it is whole, and raft has it
	expiry     *time.Timer   // runs while there is no feeder
}

// errBusy is for a sender whose snapshot has to wait.
var errBusy = errors.New("another snapshot is coming in")

// errOutdated ends a stream whose snapshot is of an earlier term.
var errOutdated = errors.New("snapshot of an earlier term")

// snapshot takes a snapshot, or the rest of one, and gives it to raft when it is
// whole.
func (in *inbound) snapshot(b []byte) error {
	begin := new(raftv1.SnapshotBegin)
	if err := decode(b, begin); err != nil {
		return err
	}
	l := in.limits()
	if err := l.snapshot(begin); err != nil {
		return err
	}
	if begin.Term < l.term {
		return in.send(snapshotProgress, &raftv1.SnapshotProgress{Term: l.term})
	}
	s, err := in.t.claim(in, begin)
	if err != nil {
		in.t.warnRefused(in.peer, err)
		return in.fail(err)
	}
	keep, err := in.feed(s)
	in.t.release(s, keep)
	return err
}

// feed takes chunks to the end. It tells whether what has come may be gone on
// with.
func (in *inbound) feed(s *incoming) (keep bool, _ error) {
	for {
		term := in.t.cfg.Term()
		if err := in.send(snapshotProgress, &raftv1.SnapshotProgress{Term: term, Offset: s.offset}); err != nil {
			return true, err
		}
		if term > s.begin.Term {
			return false, errOutdated // chunks may be on their way, and nothing else may follow
		}
		h, err := in.header(in.t.snapshotWait())
		if err != nil {
			return !errors.Is(err, errProtocol), err
		}
		b, err := in.body(h)
		if err != nil {
			return true, err
		}
		switch h.typ {
		case snapshotChunk:
			err := s.add(b)
			if err == nil {
				err = in.t.room(s.begin, s.offset) // others may use the disk, too
			}
			if err != nil {
				return false, in.refuse(err)
			}
		case snapshotEnd:
			if err := decode(b, new(raftv1.SnapshotEnd)); err != nil {
				return false, err
			}
			return false, in.install(s)
		default:
			return false, breach("a frame of type %d comes within a snapshot", h.typ)
		}
	}
}

// refuse tells the sender of a failure of this server.
func (in *inbound) refuse(err error) error {
	if !errors.Is(err, errProtocol) {
		in.t.warnRefused(in.peer, err)
		_ = in.fail(err) // the stream ends anyway
	}
	return err
}

// refusedInterval is the time between lines in the log about snapshots that are
// refused: the leader tries again and again.
const refusedInterval = time.Minute

// warnRefused logs that this server can't take a snapshot.
func (t *Transport) warnRefused(peer string, err error) {
	if errors.Is(err, errBusy) || t.ctx.Err() != nil {
		return
	}
	t.mu.Lock()
	quiet := time.Since(t.refusedAt) < refusedInterval
	if !quiet {
		t.refusedAt = time.Now()
	}
	t.mu.Unlock()
	if !quiet {
		t.cfg.Log.Error("a snapshot can't be received; this server keeps what it has, and the leader will try again", "peer", peer, "error", err)
	}
}

// room returns an error where the disk has no room for what is yet to come of a
// snapshot, and for the second copy that there is while it is being installed.
func (t *Transport) room(begin *raftv1.SnapshotBegin, have uint64) error {
	free, left := t.cfg.Free(), begin.Size-have
	if left <= free && begin.Size <= free-left {
		return nil
	}
	return fmt.Errorf("no space for a snapshot: it has %d bytes, and takes twice as much until it is installed; %d have come, and beside the reserve %d are free",
		begin.Size, have, free)
}

// add writes a chunk. Chunks are full, but for the last one, so that a transfer
// can't be drawn out byte by byte.
func (s *incoming) add(b []byte) error {
	m := new(raftv1.SnapshotChunk)
	if err := decode(b, m); err != nil {
		return err
	}
	left := s.begin.Size - s.offset
	if m.Offset != s.offset || uint64(len(m.Data)) != min(chunkBytes, left) || left == 0 {
		return breach("a chunk of %d bytes at %d, where %d of %d have come", len(m.Data), m.Offset, s.offset, s.begin.Size)
	}
	if _, err := s.file.Write(m.Data); err != nil {
		return fmt.Errorf("receive snapshot: %w", err)
	}
	s.offset += uint64(len(m.Data))
	return nil
}

// install gives a snapshot that is whole to raft, and tells the sender how it
// ends.
func (in *inbound) install(s *incoming) error {
	if s.offset != s.begin.Size {
		return breach("a snapshot of %d bytes ends after %d", s.begin.Size, s.offset)
	}
	in.t.mu.Lock()
	s.installing = true
	in.t.mu.Unlock()
	all := func() io.Reader { return io.NewSectionReader(s.file, 0, int64(s.offset)) }
	if err := in.t.cfg.CheckSnapshot(all(), s.begin.LastIndex, s.begin.LastTerm); err != nil {
		return breach("the snapshot: %w", err)
	}
	answers := make(chan raft.RPCResponse, 1) // raft must not wait
	rpc := raft.RPC{Reader: all(), RespChan: answers, Command: &raft.InstallSnapshotRequest{
		RPCHeader: rpcHeader(in.peer), Leader: []byte(in.peer), SnapshotVersion: raft.SnapshotVersionMax,
		Term: s.begin.Term, LastLogIndex: s.begin.LastIndex, LastLogTerm: s.begin.LastTerm,
		Configuration: s.begin.Configuration, ConfigurationIndex: s.begin.ConfigurationIndex, Size: int64(s.begin.Size),
	}}
	return in.awaitInstall(s, rpc, answers)
}

// awaitInstall waits for raft, with signs of life for the sender. Once raft has
// the snapshot it is waited for even if the stream ends, since it reads the file.
func (in *inbound) awaitInstall(s *incoming, rpc raft.RPC, answers <-chan raft.RPCResponse) error {
	tick := time.NewTicker(installTick)
	defer tick.Stop()
	offer, room := in.t.consumer, in.ctx.Done()
	var broken error
	for {
		select {
		case offer <- rpc:
			offer, room = nil, nil
		case a := <-answers:
			switch {
			case broken != nil:
				return broken
			case a.Error != nil:
				return in.fail(a.Error)
			}
			r := a.Response.(*raft.InstallSnapshotResponse)
			return in.send(snapshotInstalled, &raftv1.SnapshotInstalled{Term: r.Term, Success: r.Success})
		case <-tick.C:
			if broken == nil {
				broken = in.send(snapshotProgress, &raftv1.SnapshotProgress{Term: s.begin.Term, Offset: s.offset})
			}
			if broken != nil && offer != nil {
				return broken
			}
		case <-room:
			return in.ctx.Err()
		case <-in.t.ctx.Done():
			return errClosed
		}
	}
}

// claim makes in the feeder of the snapshot that begin describes, new or one
// that has begun. A snapshot makes way for a later one of the same peer, which
// has given the first one up, and for one of a later term, whose leader need
// not wait for one that is frozen.
func (t *Transport) claim(in *inbound, begin *raftv1.SnapshotBegin) (*incoming, error) {
	for {
		t.mu.Lock()
		s := t.incoming
		if s == nil || s.feeder == nil {
			defer t.mu.Unlock()
			return t.claimFree(in, begin)
		}
		if s.installing || s.peer != in.peer && begin.Term <= s.begin.Term {
			t.mu.Unlock()
			return nil, errBusy
		}
		feeder, released := s.feeder, s.released
		t.mu.Unlock()
		feeder.stop()
		t.end(feeder.Conn)
		select {
		case <-released:
		case <-in.ctx.Done():
			return nil, in.ctx.Err()
		}
	}
}

// claimFree is claim where no stream feeds a snapshot. The caller holds mu.
func (t *Transport) claimFree(in *inbound, begin *raftv1.SnapshotBegin) (*incoming, error) {
	if t.closed {
		return nil, errClosed
	}
	s := t.incoming
	if s != nil {
		s.expiry.Stop()
	}
	if s == nil || s.peer != in.peer || !proto.Equal(s.begin, begin) {
		if s != nil {
			t.incoming = nil
			s.drop(t)
		}
		if err := t.room(begin, 0); err != nil {
			return nil, err
		}
		f, err := os.CreateTemp(t.cfg.Dir, t.cfg.TempPrefix)
		if err != nil {
			return nil, fmt.Errorf("receive snapshot: %w", err)
		}
		s = &incoming{begin: begin, peer: in.peer, file: f}
		t.incoming = s
	}
	s.feeder, s.released = in, make(chan struct{})
	return s, nil
}

// release ends the feeding of a snapshot.
func (t *Transport) release(s *incoming, keep bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.feeder = nil
	if keep && !t.closed {
		s.expiry = time.AfterFunc(keepIncoming, func() { t.expire(s) })
	} else {
		t.incoming = nil
		s.drop(t)
	}
	close(s.released)
}

// expire gives up a snapshot whose sender doesn't come back.
func (t *Transport) expire(s *incoming) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.incoming == s && s.feeder == nil {
		t.incoming = nil
		s.drop(t)
	}
}

// dropIncoming ends what waits for its rest. There are no streams any more.
func (t *Transport) dropIncoming() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.incoming; s != nil {
		s.expiry.Stop()
		t.incoming = nil
		s.drop(t)
	}
}

// drop removes the file.
func (s *incoming) drop(t *Transport) {
	if err := errors.Join(s.file.Close(), os.Remove(s.file.Name())); err != nil {
		t.cfg.Log.Warn("file of a received snapshot not removed", "error", err)
	}
}
