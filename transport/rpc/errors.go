package rpc

import (
	"errors"
	"fmt"
)

// Errors that a caller acts on.
var (
	// ErrNotSent: the call has not reached the peer and never will. What went
	// wrong is wrapped too.
	ErrNotSent = errors.New("call not sent")

	// ErrConnectionLost: the connection broke after the call may have been
	// sent. Whether the peer carried it out is unknown.
	ErrConnectionLost = errors.New("connection lost, the call may have been carried out")

	// ErrTooLarge: a body does not fit into a frame.
	ErrTooLarge = errors.New("body too large")

	// ErrProtocol: the peer sent what is no frame of this protocol. The
	// connection is closed.
	ErrProtocol = errors.New("peer violates the protocol")

	// ErrClosed: the client, or the set of peers, has been closed.
	ErrClosed = errors.New("client is closed")
)

// Error is the answer of a handler that refused or failed. Handlers return it
// to choose the code; any other error arrives with [CodeUnknown] and its text.
type Error struct {
	// Code is what the application's callers act on. It chooses the codes from
	// 1.
	Code uint32

	// Message is for people. What goes over 1024 bytes is cut off.
	Message string
}

// CodeUnknown is the code of an error that its handler gave none.
const CodeUnknown uint32 = 0

func (e *Error) Error() string {
	if e.Code == CodeUnknown {
		return "peer: " + e.Message
	}
	return fmt.Sprintf("peer: %s (code %d)", e.Message, e.Code)
}
