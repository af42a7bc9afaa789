// Package rpc carries calls between nodes: many at a time over one connection
// that has been authenticated before.
//
// [NewClient] makes calls over a connection and [Serve] answers them;
// [ServeListener] does so for all connections of a listener, and [Peers] keeps
// one client for each node, dialing on demand. What a call means is up to the
// application: a method number, bytes and bytes back, or an [Error].
//
// # Guarantees
//
// A call that ends in [ErrNotSent] has not reached the peer and may be made
// again. Answers, [Error] among them, come from the peer's handler. After any
// other error the call may have been carried out, once, or be carried out
// still. Nothing is sent twice.
//
// The time that a call has left goes along, relative, so that clocks don't
// matter; the handler's context ends with it, and when the caller gives up.
//
// Memory is bounded on both sides: see [Config].
//
// # Frames
//
// All integers are big-endian.
//
//	length  4 bytes, of what follows
//	id      8 bytes, chosen by the caller; the answer has the same
//	type    1 byte
//	payload
//
//	type 1, request:  method (1 byte), time left in ns (8 bytes, 0 for no bound), body
//	type 2, response: body
//	type 3, failure:  code (4 bytes), message
//	type 4, cancel:   nothing; no answer is awaited any more
//
// Frames that wait together leave in one write, which is what makes small calls
// cheap.
package rpc
