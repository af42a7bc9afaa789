package raftnet

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Config is what a [Transport] runs on. All fields but those with a default are
// needed.
type Config struct {
	// NodeID is the own node. Addresses are node ids: who dials finds the node.
	NodeID string

	// Listener accepts the streams that peers open. The transport closes it.
	Listener net.Listener

	// Dial opens a stream to a node, and makes sure that it is that node.
	Dial func(ctx context.Context, node string) (net.Conn, error)

	// PeerOf is the node that has opened a stream.
	PeerOf func(net.Conn) string

	// Term is the term of the own raft. It is called for requests that arrive.
	Term func() uint64

	// LastIndex is the end of the own raft's log. It is called like Term.
	LastIndex func() uint64

	// Leader is the node that the own raft knows to lead in that term, empty where
	// it knows none. It is called for requests that the leader alone may make.
	Leader func() string

	// CheckCommand refuses the data of an entry that this server could not
	// apply. It is called for every command before raft sees it.
	CheckCommand func(data []byte) error

	// CheckAppend refuses a request with configurations that don't follow from what
	// the own log has before. It is called for every request with entries, before
	// raft sees it. [ErrNotThere] refuses as raft does.
	CheckAppend func(*raft.AppendEntriesRequest) error

	// CheckSnapshot refuses a snapshot that is not of the given index and term,
	// or can't be installed for another reason. It reads as much as it likes.
	CheckSnapshot func(r io.Reader, index, term uint64) error

	// Dir takes a file while a snapshot comes in. A name begins with TempPrefix,
	// so that one that was left behind can be told.
	Dir        string
	TempPrefix string

	// Free is how many bytes the disk of Dir can take.
	Free func() uint64

	// Timeout bounds the dial, the wait for an answer, and the pass of each
	// piece of a message. Zero means 5 s.
	Timeout time.Duration

	Log *slog.Logger
}

const (
	defaultTimeout = 5 * time.Second

	// idleStreams to each peer are kept: raft sends entries and heartbeats side by
	// side, and asks for votes.
	idleStreams = 3

	// peerStreamsMax is how many streams one peer may have open to this server.
	// Beyond that its oldest ends.
	peerStreamsMax = 16

	// largeBytes is from which size on the messages of one peer come in one at a
	// time, so that many streams don't take many times the memory.
	largeBytes = 2 * chunkBytes
)

// Transport is raft's network. New makes one.
type Transport struct {
	cfg      Config
	consumer chan raft.RPC
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	running  sync.WaitGroup

	mu       sync.Mutex // guards the fields below
	closed   bool
	idle     map[string][]*wire      // to each peer, the last used at the end
	open     map[net.Conn]struct{}   // all connections, those in use too
	inbound  map[string]*inboundPeer // peers that have streams open
	incoming *incoming               // the snapshot that comes in, if one does
	warned   map[string]*warnings    // breaches, by peer

	refusedAt time.Time // when the log was told last that a snapshot was refused
}

var (
	_ raft.Transport   = (*Transport)(nil)
	_ raft.WithPreVote = (*Transport)(nil)
	_ raft.WithClose   = (*Transport)(nil)
)

// New starts a transport, which takes streams at once. Its streams and calls
// end when ctx does, or with Close.
func New(ctx context.Context, cfg Config) *Transport {
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	t := &Transport{
		cfg:      cfg,
		consumer: make(chan raft.RPC),
		idle:     make(map[string][]*wire),
		open:     make(map[net.Conn]struct{}),
		inbound:  make(map[string]*inboundPeer),
		warned:   make(map[string]*warnings),
	}
	t.ctx, t.cancel = context.WithCancel(ctx)
	t.running.Go(t.accept)
	return t
}

// Consumer implements [raft.Transport].
func (t *Transport) Consumer() <-chan raft.RPC { return t.consumer }

// LocalAddr implements [raft.Transport].
func (t *Transport) LocalAddr() raft.ServerAddress { return raft.ServerAddress(t.cfg.NodeID) }

// EncodePeer implements [raft.Transport].
func (t *Transport) EncodePeer(_ raft.ServerID, addr raft.ServerAddress) []byte { return []byte(addr) }

// DecodePeer implements [raft.Transport].
func (t *Transport) DecodePeer(b []byte) raft.ServerAddress { return raft.ServerAddress(b) }

// SetHeartbeatHandler ignores the handler. Raft runs it on the stream's
// goroutine, beside its main one, and both change term and state: committed
// entries could then differ between nodes (hashicorp/raft#695). Without a
// handler heartbeats queue with all other requests. They then wait behind a
// disk that stalls, which is why HeartbeatTimeout is not shorter.
func (t *Transport) SetHeartbeatHandler(func(raft.RPC)) {}

// AppendEntriesPipeline refuses. When a follower refuses a pipelined request, or
// knows a later term, raft can wait for itself (hashicorp/raft#612): the
// follower gets heartbeats but no entries for as long as the leader leads, and
// the leader can't be shut down.
func (t *Transport) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

// Close ends every stream and every call, and waits for all goroutines. Raft
// need not have ended: a request that it has is not waited for.
func (t *Transport) Close() error {
	t.mu.Lock()
	t.closed = true
	conns := make([]net.Conn, 0, len(t.open))
	for c := range t.open {
		conns = append(conns, c)
	}
	clear(t.idle)
	t.mu.Unlock()

	t.cancel()
	err := t.cfg.Listener.Close()
	for _, c := range conns {
		c.Close()
	}
	t.running.Wait()
	t.dropIncoming()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// ErrNotThere refuses a request to append entries behind one that the own log
// doesn't have. The leader then goes back to one that it has.
var ErrNotThere = errors.New("the entry before is not there")

// errClosed ends calls after Close.
var errClosed = errors.New("raft's transport is closed")

// own notes a connection, so that Close ends it. It closes the connection and
// returns false where that is past.
func (t *Transport) own(c net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		c.Close()
		return false
	}
	t.open[c] = struct{}{}
	return true
}

// end closes a connection for good.
func (t *Transport) end(c net.Conn) {
	t.mu.Lock()
	delete(t.open, c)
	t.mu.Unlock()
	c.Close()
}

func rpcHeader(node string) raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(node), Addr: []byte(node)}
}

func toUnix(at time.Time) int64 {
	if at.IsZero() {
		return 0
	}
	return at.UnixNano()
}

func fromUnix(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}
