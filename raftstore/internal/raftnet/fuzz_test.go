package raftnet

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	raftv1 "github.com/spire-raft/spire-raft/proto/raft/v1"
)

// FuzzFrames: whatever arrives is refused, or is a frame that looks the same
// when it is sent again.
func FuzzFrames(f *testing.F) {
	for _, g := range goldenFrames() {
		f.Add(frameOf(f, g.typ, g.m))
	}
	f.Add([]byte{0x32, 0, 0, 0, byte(appendEntries)})
	f.Fuzz(func(t *testing.T, data []byte) {
		w := &wire{Conn: bytesConn{Reader: bytes.NewReader(data)}, timeout: time.Second}
		for rest := data; ; {
			h, err := w.header(0)
			var b []byte
			if err == nil {
				b, err = w.body(h)
			}
			if err != nil {
				if !errors.Is(err, errProtocol) && !errors.Is(err, io.ErrUnexpectedEOF) && (err != io.EOF || len(rest) > 0) {
					t.Fatalf("%d bytes are left: %v", len(rest), err)
				}
				return
			}
			n := frameHeaderBytes + len(b)
			if len(b) != h.size || !bytes.Equal(rest[frameHeaderBytes:n], b) {
				t.Fatalf("frame %+v has %x of %x", h, b, rest)
			}
			rest = rest[n:]
		}
	})
}

// FuzzRequests: a request that passes has nothing in it that raft stumbles over.
// The type and the body are apart, so that every run gets as far as the checks.
func FuzzRequests(f *testing.F) {
	for _, g := range goldenFrames() {
		f.Add(uint8(g.typ), uint64(5), frameOf(f, g.typ, g.m)[frameHeaderBytes:])
	}
	for _, g := range nonsense() {
		if b := frameOf(f, g.typ, g.m); len(b) < 10_000 {
			f.Add(uint8(g.typ), uint64(0), b[frameHeaderBytes:])
		}
	}
	f.Fuzz(func(t *testing.T, typ uint8, term uint64, body []byte) {
		l := limits{peer: "a", term: term % (1 << 40), checkCommand: checkPlain}
		switch frameType(typ) {
		case appendEntries:
			m, err := decodeAppend(body)
			if err != nil {
				return
			}
			if req, err := l.append(m); err == nil {
				wantSane(t, req, l.term)
			}
		case snapshotBegin:
			m := new(raftv1.SnapshotBegin)
			if decode(body, m) == nil && l.snapshot(m) == nil {
				wantVoter(t, m.Configuration)
			}
		case vote, preVote:
			m := new(raftv1.VoteRequest)
			if decode(body, m) == nil && l.vote(m) == nil && (m.NodeId != "a" || m.Term > numberMax || m.LastTerm > m.Term) {
				t.Fatalf("%v passes", m)
			}
		}
	})
}

// wantSane fails unless raft and the log can take a request.
func wantSane(t *testing.T, req *raft.AppendEntriesRequest, own uint64) {
	if string(req.ID) != "a" || string(req.Addr) != "a" {
		t.Fatalf("in the name of %q, %q", req.ID, req.Addr)
	}
	if own > 0 && req.Term > own+requestTermsMax || req.Term > numberMax {
		t.Fatalf("term %d at term %d", req.Term, own)
	}
	index, term := req.PrevLogEntry, req.PrevLogTerm
	for _, e := range req.Entries {
		if index++; e.Index != index || e.Index == 0 || e.Term < term || e.Term > req.Term {
			t.Fatalf("entry %d of term %d behind %d of term %d", e.Index, e.Term, index-1, term)
		}
		term = e.Term
		switch e.Type {
		case raft.LogCommand:
			if checkPlain(e.Data) != nil {
				t.Fatalf("command %q", e.Data)
			}
		case raft.LogConfiguration:
			wantVoter(t, e.Data)
		case raft.LogNoop, raft.LogBarrier:
		default:
			t.Fatalf("type %d", e.Type)
		}
	}
}

// wantVoter fails unless raft can decode a configuration and elect by it.
func wantVoter(t *testing.T, data []byte) {
	for _, s := range raft.DecodeConfiguration(data).Servers {
		if s.Suffrage == raft.Voter {
			return
		}
	}
	t.Fatalf("no voter in %x", data)
}

// FuzzConfiguration: what passes decodes, and comes out the same.
func FuzzConfiguration(f *testing.F) {
	f.Add(configuration(voter("a"), voter("b"), raft.Server{ID: "c", Address: "c", Suffrage: raft.Nonvoter}))
	for _, c := range badConfigurations() {
		if len(c) < 10_000 {
			f.Add(c)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if CheckConfiguration(data) != nil {
			return
		}
		if again := raft.EncodeConfiguration(raft.DecodeConfiguration(data)); !bytes.Equal(again, data) {
			t.Fatalf("%x comes out as %x", data, again)
		}
		wantVoter(t, data)
	})
}
