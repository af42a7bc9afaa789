package rpc

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"
)

type frameType uint8

const (
	request frameType = iota + 1
	response
	failure
	cancel
)

const (
	lengthBytes        = 4
	headerBytes        = lengthBytes + 8 + 1
	requestHeaderBytes = 1 + 8
	failureHeaderBytes = 4

	messageBytesMax = 1024
)

// frame is one message. Request and failure have fields of their own before
// the body.
type frame struct {
	id      uint64
	kind    frameType
	method  uint8         // of a request
	timeout time.Duration // of a request; 0 is no bound
	code    uint32        // of a failure
	body    []byte
}

// size is the length of f on the wire.
func (f frame) size() int {
	n := headerBytes + len(f.body)
	switch f.kind {
	case request:
		n += requestHeaderBytes
	case failure:
		n += failureHeaderBytes
	}
	return n
}

// appendTo appends f as it goes over the wire.
func (f frame) appendTo(b []byte) []byte {
	b = slices.Grow(b, f.size())
	b = binary.BigEndian.AppendUint32(b, uint32(f.size()-lengthBytes))
	b = binary.BigEndian.AppendUint64(b, f.id)
	b = append(b, byte(f.kind))
	switch f.kind {
	case request:
		b = append(b, f.method)
		b = binary.BigEndian.AppendUint64(b, uint64(f.timeout))
	case failure:
		b = binary.BigEndian.AppendUint32(b, f.code)
	}
	return append(b, f.body...)
}

// header is the part of a frame that is read before anything is allocated for
// the rest.
type header struct {
	id      uint64
	kind    frameType
	payload int // bytes that follow
}

// parse makes a frame of h and its payload, which the frame keeps.
func (h header) parse(payload []byte) (frame, error) {
	f := frame{id: h.id, kind: h.kind, body: payload}
	switch {
	case h.kind == request && len(payload) >= requestHeaderBytes:
		f.method = payload[0]
		f.timeout = time.Duration(binary.BigEndian.Uint64(payload[1:]))
		if f.timeout < 0 {
			return frame{}, fmt.Errorf("%w: a request has a negative time left", ErrProtocol)
		}
		f.body = payload[requestHeaderBytes:]
	case h.kind == response:
	case h.kind == failure && len(payload) >= failureHeaderBytes:
		f.code = binary.BigEndian.Uint32(payload)
		f.body = payload[failureHeaderBytes:]
	case h.kind == cancel && len(payload) == 0:
	default:
		return frame{}, fmt.Errorf("%w: a frame of type %d has %d bytes", ErrProtocol, h.kind, len(payload))
	}
	return f, nil
}

// frameReader reads the frames of one connection.
type frameReader struct {
	conn     net.Conn
	buf      *bufio.Reader
	bytesMax int
	stall    time.Duration
}

// readBuffer is how much of the small frames one read can bring.
const readBuffer = 64 << 10

func newFrameReader(conn net.Conn, cfg Config) *frameReader {
	return &frameReader{
		conn:     conn,
		buf:      bufio.NewReaderSize(conn, readBuffer),
		bytesMax: cfg.FrameBytesMax,
		stall:    cfg.StallTimeout,
	}
}

// header waits for the next frame. It returns io.EOF where the connection ends
// before one.
func (r *frameReader) header() (header, error) {
	var b [headerBytes]byte
	if _, err := io.ReadFull(r.buf, b[:]); err != nil {
		return header{}, err
	}
	// In 64 bits, where no length can wrap around.
	size := int64(binary.BigEndian.Uint32(b[:])) + lengthBytes
	if size < headerBytes || size > int64(r.bytesMax) {
		return header{}, fmt.Errorf("%w: a frame claims %d bytes, the limits are %d and %d", ErrProtocol, size, headerBytes, r.bytesMax)
	}
	return header{
		id:      binary.BigEndian.Uint64(b[4:]),
		kind:    frameType(b[12]),
		payload: int(size) - headerBytes,
	}, nil
}

// method is that of the request which h begins. It reads nothing of it.
func (r *frameReader) method(h header) (uint8, error) {
	if h.payload < requestHeaderBytes {
		return 0, fmt.Errorf("%w: a request has %d bytes", ErrProtocol, h.payload)
	}
	if r.buf.Buffered() == 0 {
		_ = r.conn.SetReadDeadline(time.Now().Add(r.stall))
		defer func() { _ = r.conn.SetReadDeadline(time.Time{}) }()
	}
	b, err := r.buf.Peek(1)
	if err != nil {
		return 0, unexpected(err)
	}
	return b[0], nil
}

// discard passes over the rest of the frame that h begins.
func (r *frameReader) discard(h header) error {
	defer func() { _ = r.conn.SetReadDeadline(time.Time{}) }()
	for left := h.payload; left > 0; {
		n := min(left, readBuffer)
		_ = r.conn.SetReadDeadline(time.Now().Add(r.stall))
		if _, err := r.buf.Discard(n); err != nil {
			return unexpected(err)
		}
		left -= n
	}
	return nil
}

// unexpected is err of a connection that ends within a frame.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// frame reads the rest of the frame that h begins. Memory is taken as bytes
// arrive, not as h claims. The frame's body belongs to the caller.
func (r *frameReader) frame(h header) (frame, error) {
	if r.buf.Buffered() < h.payload {
		defer func() { _ = r.conn.SetReadDeadline(time.Time{}) }()
	}
	var payload []byte
	for len(payload) < h.payload {
		n := min(h.payload-len(payload), max(len(payload), readBuffer))
		if r.buf.Buffered() < n {
			_ = r.conn.SetReadDeadline(time.Now().Add(r.stall))
		}
		at := len(payload)
		payload = slices.Grow(payload, n)[:at+n]
		if _, err := io.ReadFull(r.buf, payload[at:]); err != nil {
			return frame{}, unexpected(err)
		}
	}
	return h.parse(payload)
}
