package rpc

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// wire is a connection that brings fixed bytes.
type wire struct {
	net.Conn
	io.Reader
}

func (w wire) Read(b []byte) (int, error)      { return w.Reader.Read(b) }
func (wire) SetReadDeadline(t time.Time) error { return nil }

// Whatever arrives is refused, or is a frame that looks the same when it is
// sent again.
func FuzzFrameReader(f *testing.F) {
	f.Add(frame{id: 1, kind: request, method: 2, timeout: time.Second, body: []byte("body")}.appendTo(nil))
	f.Add(frame{id: 1 << 63, kind: response, body: []byte("body")}.appendTo(nil))
	f.Add(frame{kind: failure, code: 3, body: []byte("message")}.appendTo(nil))
	f.Add(frame{id: 9, kind: cancel}.appendTo(nil))
	f.Add(frame{kind: response, body: make([]byte, 100_000)}.appendTo(nil))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		r := newFrameReader(wire{Reader: bytes.NewReader(data)}, Config{}.withDefaults())
		for rest := data; ; {
			h, err := r.header()
			if err != nil {
				if err == io.EOF && len(rest) > 0 {
					t.Fatalf("%d bytes were lost", len(rest))
				}
				return
			}
			got, err := r.frame(h)
			if err != nil {
				if !errors.Is(err, ErrProtocol) && err != io.ErrUnexpectedEOF {
					t.Fatalf("error %v", err)
				}
				return
			}
			again := got.appendTo(nil)
			if len(again) != got.size() || !bytes.HasPrefix(rest, again) {
				t.Fatalf("frame %+v is %x on the wire, was %x", got, again, rest)
			}
			rest = rest[len(again):]
		}
	})
}
