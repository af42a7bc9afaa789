// Package transport is the network of a node: one listener and all outgoing
// connections, mutually authenticated with TLS 1.3.
//
// A certificate names its node and cluster in one URI,
// spiffe://<trust domain>/spire/raft/<cluster>/<node>: see [Identity]. A stream is of
// one [Kind], which ALPN negotiates, so that one port serves them all. [Listen]
// starts a [Transport]; [Transport.Listener] hands out what others opened and
// [Transport.Dial] opens.
//
// # Guarantees
//
// No byte passes before both sides have shown a certificate of their own roots
// that names this trust domain and cluster and, for who listens,
// [Config].Authorize has agreed to the peer. Who dials a node gets that node or
// an error.
//
// Who has not authenticated yet costs bounded memory and time: at most
// HandshakesMax connections, each for HandshakeTimeout and some 64 KiB. When
// there are more, those give way that say nothing or stall, and those of a host
// that has more than its share, so that neither can keep peers out.
//
// # The answer
//
// In TLS 1.3 the dialing side is done before the other one has seen its
// certificate, so a refusal would show as a broken connection at some later
// read. Therefore the listening side accepts any certificate in the handshake,
// checks it right after, and always sends an answer: welcome, or a reason. A
// dialer returns only when it has read it, with an error that is [ErrRefused]
// and the reason, such as [ErrExpired] or [ErrRemovedPeer].
//
// # What it is not
//
// It has no idea of membership: that is what Authorize, Admit and Resolve are for,
// nor of what the [Claim] means that both sides make in the handshake. It
// doesn't frame messages: package rpc does. Package memnet is a [Network] that
// fails on demand, and package devca a throw-away CA.
package transport
