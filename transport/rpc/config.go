package rpc

import (
	"log/slog"
	"net"
	"time"
)

// Config bounds a connection. Both ends should have the same.
type Config struct {
	// FrameBytesMax bounds a frame, with its header of at most 22 bytes; a
	// larger one that arrives is an ErrProtocol. Zero means 8 MiB. A connection
	// also keeps up to twice that much for frames on their way out.
	FrameBytesMax int

	// InFlightMax bounds the calls that a client has open, where more wait, and
	// the handlers that a server runs for one connection, where it stops
	// reading. Zero means 1024.
	InFlightMax int

	// InFlightBytesMax bounds the bodies of requests that a server holds for
	// one connection; it stops reading at the bound. Responses that wait to be
	// sent count too. Zero means 32 MiB; it is at least FrameBytesMax.
	InFlightBytesMax int

	// StallTimeout is how long a peer may take to go on reading what is sent to
	// it, or to send the rest of a frame, before the connection is closed. Zero
	// means 30 s. There is no bound on the time between frames.
	StallTimeout time.Duration

	// CheckBody is asked by a server about the body of each request before it is
	// read and before memory is taken for it. Its error is the answer, as a
	// handler's would be, and the body is passed over. Nil lets all pass.
	CheckBody func(method uint8, size int) error

	// PeerOf names who has opened a connection, for [ServeListener]: the bounds of
	// what is in flight then hold for all connections of one peer together. Nil
	// makes each connection a peer of its own.
	PeerOf func(net.Conn) string

	// ConnsPerPeerMax is how many connections of one peer [ServeListener] serves,
	// where there is PeerOf. The oldest one makes room. Zero means 8.
	ConnsPerPeerMax int

	// Log gets the connections that ServeListener closes for cause. Nil means
	// none.
	Log *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.FrameBytesMax == 0 {
		c.FrameBytesMax = 8 << 20
	}
	if c.InFlightMax == 0 {
		c.InFlightMax = 1024
	}
	if c.InFlightBytesMax == 0 {
		c.InFlightBytesMax = 32 << 20
	}
	c.InFlightBytesMax = max(c.InFlightBytesMax, c.FrameBytesMax)
	if c.ConnsPerPeerMax == 0 {
		c.ConnsPerPeerMax = 8
	}
	if c.StallTimeout == 0 {
		c.StallTimeout = 30 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}
