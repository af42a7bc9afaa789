package raftnet

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/raft"

	raftv1 "github.com/spire-raft/spire-raft/proto/raft/v1"
)

const (
	// chunksInFlight may be sent ahead of their answers, and are kept for the
	// case that they have to be sent again.
	chunksInFlight = 8

	// stallTimeouts without a chunk that arrives end a transfer. Raft then
	// begins another one, with the state of then.
	stallTimeouts = 6

	retryWait = 250 * time.Millisecond

	// installMax bounds the time that a receiver says it is installing.
	installMax = 30 * time.Minute
)

// InstallSnapshot implements [raft.Transport]. Where a stream breaks the
// transfer goes on on another one, from where the receiver has it; it ends
// with an error when nothing has arrived for a while.
func (t *Transport) InstallSnapshot(_ raft.ServerID, target raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	id := make([]byte, transferIDBytes)
	if _, err := rand.Read(id); err != nil {
		return err
	}
	o := &outgoing{t: t, node: string(target), data: data, moved: time.Now(), begin: &raftv1.SnapshotBegin{
		NodeId: t.cfg.NodeID, TransferId: id, Term: args.Term, LastIndex: args.LastLogIndex, LastTerm: args.LastLogTerm,
		Configuration: args.Configuration, ConfigurationIndex: args.ConfigurationIndex, Size: uint64(args.Size),
	}}
	for {
		err := o.attempt(resp)
		if err == nil || errors.Is(err, errProtocol) || errors.Is(err, errSnapshotLost) {
			return err
		}
		if t.ctx.Err() != nil || time.Since(o.moved) > stallTimeouts*t.cfg.Timeout {
			return fmt.Errorf("send snapshot: after %d of %d bytes: %w", o.base, args.Size, err)
		}
		select {
		case <-time.After(retryWait):
		case <-t.ctx.Done():
		}
	}
}

// errSnapshotLost ends a transfer that can't be gone on with.
var errSnapshotLost = errors.New("snapshot can't be sent")

// outgoing is a snapshot on its way to a peer.
type outgoing struct {
	t     *Transport
	node  string
	begin *raftv1.SnapshotBegin
	data  io.Reader

	base  uint64    // bytes that the receiver has
	kept  [][]byte  // chunks that it may not have, from base on
	sent  int       // how many of them went over the present stream
	read  uint64    // bytes read from data: base and what is kept
	moved time.Time // when base last grew
}

// attempt sends the snapshot, or the rest of it, over one stream.
func (o *outgoing) attempt(resp *raft.InstallSnapshotResponse) error {
	w, err := o.t.dial(o.node)
	if err != nil {
		return err
	}
	defer o.t.end(w.Conn)
	if err := w.send(snapshotBegin, o.begin); err != nil {
		return err
	}
	o.sent = 0
	for {
		outdated, err := o.progress(w, resp)
		if outdated || err != nil {
			return err
		}
		if err := o.fill(w); err != nil {
			return err
		}
		if len(o.kept) == 0 {
			break
		}
	}
	if err := w.send(snapshotEnd, &raftv1.SnapshotEnd{}); err != nil {
		return err
	}
	return o.awaitInstall(w, resp)
}

// progress takes one answer. It tells whether the receiver knows a later term,
// which ends the transfer.
func (o *outgoing) progress(w *wire, resp *raft.InstallSnapshotResponse) (outdated bool, _ error) {
	var p raftv1.SnapshotProgress
	if err := w.receive(o.t.snapshotWait(), snapshotProgress, &p); err != nil {
		return false, err
	}
	if err := checkAnswer(false, &p.Term, o.begin.Term); err != nil {
		return false, err
	}
	if p.Term > o.begin.Term {
		*resp = raft.InstallSnapshotResponse{RPCHeader: rpcHeader(o.node), Term: p.Term}
		return true, nil
	}
	if p.Offset < o.base {
		return false, fmt.Errorf("%w: the receiver has lost what it had", errSnapshotLost)
	}
	for len(o.kept) > 0 && o.base+uint64(len(o.kept[0])) <= p.Offset {
		o.base += uint64(len(o.kept[0]))
		o.kept, o.sent, o.moved = o.kept[1:], max(o.sent-1, 0), time.Now()
	}
	if o.base != p.Offset {
		return false, breach("the receiver claims to have %d bytes, where %d were sent", p.Offset, o.read)
	}
	return false, nil
}

// fill sends chunks until enough are in flight, or all are.
func (o *outgoing) fill(w *wire) error {
	at := o.base
	for _, c := range o.kept[:o.sent] {
		at += uint64(len(c))
	}
	for o.sent < chunksInFlight {
		if o.sent == len(o.kept) {
			c := make([]byte, min(chunkBytes, o.begin.Size-o.read))
			if len(c) == 0 {
				return nil
			}
			if _, err := io.ReadFull(o.data, c); err != nil {
				return fmt.Errorf("%w: read it: %w", errSnapshotLost, err)
			}
			o.kept, o.read = append(o.kept, c), o.read+uint64(len(c))
		}
		c := o.kept[o.sent]
		if err := w.send(snapshotChunk, &raftv1.SnapshotChunk{Offset: at, Data: c}); err != nil {
			return err
		}
		o.sent++
		at += uint64(len(c))
	}
	return nil
}

// awaitInstall waits until the receiver has installed the snapshot.
func (o *outgoing) awaitInstall(w *wire, resp *raft.InstallSnapshotResponse) error {
	begun := time.Now()
	for {
		h, err := w.header(o.t.snapshotWait())
		if err != nil {
			return err
		}
		b, err := w.body(h)
		if err != nil {
			return err
		}
		if h.typ == snapshotProgress && time.Since(begun) < installMax {
			o.moved = time.Now()
			continue
		}
		var m raftv1.SnapshotInstalled
		if err := decodeAnswer(h.typ, b, snapshotInstalled, &m); err != nil {
			return fmt.Errorf("%w: %w", errSnapshotLost, err)
		}
		if err := checkAnswer(m.Success, &m.Term, o.begin.Term); err != nil {
			return err
		}
		*resp = raft.InstallSnapshotResponse{RPCHeader: rpcHeader(o.node), Term: m.Term, Success: m.Success}
		return nil
	}
}
