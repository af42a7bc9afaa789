package raftnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	raftv1 "github.com/spire-raft/spire-raft/proto/raft/v1"
)

// frameType says which message a frame holds.
type frameType uint8

const (
	appendEntries frameType = iota + 1
	appendEntriesAnswer
	vote
	preVote
	voteAnswer
	timeoutNow
	timeoutNowAnswer
	snapshotBegin
	snapshotChunk
	snapshotEnd
	snapshotProgress
	snapshotInstalled
	failure
	frameTypes // how many, and one
)

const (
	frameHeaderBytes = 4 + 1

	smallBytesMax = 1 << 10

	// appendBytes of entries go into one request, or else one entry. With the
	// largest entry, a command of store.TxBytesMax behind others that make up a
	// group, a request stays far below appendBytesMax.
	appendBytes    = 4 << 20
	appendBytesMax = 16 << 20

	// entriesMax is how many entries a request may have. Each costs memory
	// besides its bytes.
	entriesMax = 1024

	configurationBytesMax = 256 << 10

	// chunkBytes of a snapshot are sent at once.
	chunkBytes = 256 << 10

	failureTextBytesMax = 512
)

// bytesMax bounds the message of each type of frame.
var bytesMax = [frameTypes]int{
	appendEntries:       appendBytesMax,
	appendEntriesAnswer: smallBytesMax,
	vote:                smallBytesMax,
	preVote:             smallBytesMax,
	voteAnswer:          smallBytesMax,
	timeoutNow:          smallBytesMax,
	timeoutNowAnswer:    smallBytesMax,
	snapshotBegin:       configurationBytesMax + smallBytesMax,
	snapshotChunk:       chunkBytes + smallBytesMax,
	snapshotEnd:         smallBytesMax,
	snapshotProgress:    smallBytesMax,
	snapshotInstalled:   smallBytesMax,
	failure:             smallBytesMax,
}

// errProtocol is what a peer does that no sane one does. It ends the stream.
var errProtocol = errors.New("breach of the raft protocol")

func breach(format string, args ...any) error {
	return fmt.Errorf("%w: %w", errProtocol, fmt.Errorf(format, args...))
}

// appendFrame appends the frame of a message.
func appendFrame(b []byte, typ frameType, m proto.Message) ([]byte, error) {
	size := proto.Size(m)
	if size > bytesMax[typ] {
		return nil, fmt.Errorf("a raft message of type %d has %d bytes, the limit is %d", typ, size, bytesMax[typ])
	}
	b = slices.Grow(b, frameHeaderBytes+size)
	b = binary.BigEndian.AppendUint32(b, uint32(1+size))
	b = append(b, byte(typ))
	return proto.MarshalOptions{}.MarshalAppend(b, m)
}

// header is the part of a frame that is read before memory is taken for the
// rest.
type header struct {
	typ  frameType
	size int // of the message
}

// parseHeader refuses what no message can be.
func parseHeader(b [frameHeaderBytes]byte) (header, error) {
	size, typ := int64(binary.BigEndian.Uint32(b[:]))-1, frameType(b[4])
	if typ == 0 || typ >= frameTypes {
		return header{}, breach("a frame has the unknown type %d", typ)
	}
	if size < 0 || size > int64(bytesMax[typ]) {
		return header{}, breach("a frame of type %d claims %d bytes, the limit is %d", typ, size, bytesMax[typ])
	}
	return header{typ, int(size)}, nil
}

// pieceBytes must pass within a timeout, in both directions: deadlines go by
// progress, so that a slow link is slow and a dead one ends.
const pieceBytes = 64 << 10

// wire sends and receives frames. One goroutine uses it at a time.
type wire struct {
	net.Conn
	timeout time.Duration // for each piece
	out     []byte        // a buffer for small frames
}

// header waits for the next frame: for its first byte as long as first says, 0
// for ever, then for a timeout.
func (w *wire) header(first time.Duration) (header, error) {
	var b [frameHeaderBytes]byte
	var deadline time.Time
	if first > 0 {
		deadline = time.Now().Add(first)
	}
	_ = w.SetReadDeadline(deadline)
	if _, err := io.ReadFull(w.Conn, b[:1]); err != nil {
		return header{}, err
	}
	_ = w.SetReadDeadline(time.Now().Add(w.timeout))
	if _, err := io.ReadFull(w.Conn, b[1:]); err != nil {
		return header{}, cutOff(err)
	}
	return parseHeader(b)
}

// body reads the message of a frame. Memory is taken as bytes arrive, at most
// twice as much, not as the header claims. The result belongs to the caller.
func (w *wire) body(h header) ([]byte, error) {
	var b []byte
	for len(b) < h.size {
		n := min(h.size-len(b), max(len(b), pieceBytes))
		at := len(b)
		b = slices.Grow(b, n)[:at+n]
		for at < len(b) {
			_ = w.SetReadDeadline(time.Now().Add(w.timeout))
			end := min(len(b), at+pieceBytes)
			if _, err := io.ReadFull(w.Conn, b[at:end]); err != nil {
				return nil, cutOff(err)
			}
			at = end
		}
	}
	return b, nil
}

// cutOff is err where it ends a stream within a frame.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// send writes a frame.
func (w *wire) send(typ frameType, m proto.Message) error {
	b, err := appendFrame(w.out[:0], typ, m)
	if err != nil {
		return err
	}
	if cap(b) <= 2*chunkBytes {
		w.out = b
	}
	for len(b) > 0 {
		n := min(len(b), pieceBytes)
		_ = w.SetWriteDeadline(time.Now().Add(w.timeout))
		if _, err := w.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// receive waits up to first for an answer of the type, and decodes it into m.
func (w *wire) receive(first time.Duration, typ frameType, m proto.Message) error {
	h, err := w.header(first)
	if err != nil {
		return err
	}
	b, err := w.body(h)
	if err != nil {
		return err
	}
	return decodeAnswer(h.typ, b, typ, m)
}

// decodeAnswer decodes an answer that should be of type want into m.
func decodeAnswer(got frameType, b []byte, want frameType, m proto.Message) error {
	if got == failure {
		var f raftv1.Failure
		if err := decode(b, &f); err != nil {
			return err
		}
		return &RemoteError{clip(f.Message)}
	}
	if got != want {
		return breach("an answer has type %d, not %d", got, want)
	}
	return decode(b, m)
}

// decode decodes a message without lists in it.
func decode(b []byte, m proto.Message) error {
	if err := proto.Unmarshal(b, m); err != nil {
		return breach("%w", err)
	}
	return nil
}

// entriesField is the number of AppendEntriesRequest.entries.
const entriesField protowire.Number = 6

// decodeAppend decodes a request, whose entries it counts before it takes
// memory for them.
func decodeAppend(b []byte) (*raftv1.AppendEntriesRequest, error) {
	entries := 0
	for rest := b; len(rest) > 0; {
		field, _, n := protowire.ConsumeField(rest)
		if n < 0 {
			return nil, breach("%w", protowire.ParseError(n))
		}
		if rest = rest[n:]; field == entriesField {
			entries++
		}
	}
	if entries > entriesMax {
		return nil, breach("a request has %d entries, the limit is %d", entries, entriesMax)
	}
	m := new(raftv1.AppendEntriesRequest)
	return m, decode(b, m)
}

// RemoteError is what the other server has answered in place of a result.
type RemoteError struct{ Message string }

// Error implements error.
func (e *RemoteError) Error() string { return fmt.Sprintf("the peer answered: %q", e.Message) }

// clip bounds a text from, or for, a peer.
func clip(s string) string {
	if len(s) > failureTextBytesMax {
		s = s[:failureTextBytesMax]
	}
	return strings.ToValidUTF8(s, "?")
}
