package transport

import (
	"errors"
	"fmt"
)

// Errors of a connection that did not come about. Test with errors.Is: they
// are wrapped with who, where and what helps.
var (
	// ErrUntrusted: the certificate does not chain to the roots, or is not
	// meant for both TLS clients and servers.
	ErrUntrusted = errors.New("certificate is not trusted")

	// ErrExpired: the certificate has expired or is not valid yet.
	ErrExpired = errors.New("certificate is outside its time of validity")

	// ErrBadIdentity: the certificate or the configuration does not name one
	// node of one cluster in the way of [Identity].
	ErrBadIdentity = errors.New("not an identity of a node")

	// ErrOtherCluster: the certificate is of another cluster or trust domain.
	ErrOtherCluster = errors.New("certificate is of another cluster")

	// ErrWrongNode: the certificate is of another node than the one expected.
	ErrWrongNode = errors.New("certificate is of another node")

	// ErrNotAuthorized: the listening node does not take streams of this kind
	// from this node.
	ErrNotAuthorized = errors.New("node is not authorized")

	// ErrRemovedPeer, ErrOtherInstance and ErrOldOpening are reasons for
	// ErrNotAuthorized that Authorize or Admit may give, and that the peer is
	// told as such: it was removed from the cluster for good, it claims another
	// life of the cluster than this node's, or its disk was opened by somebody
	// else since.
	ErrRemovedPeer   = fmt.Errorf("%w: it was removed from the cluster", ErrNotAuthorized)
	ErrOtherInstance = fmt.Errorf("%w: it belongs to another instance of the cluster", ErrNotAuthorized)
	ErrOldOpening    = fmt.Errorf("%w: its data directory has been opened elsewhere since", ErrNotAuthorized)

	// ErrBadClaim: a [Claim] is not as it should be.
	ErrBadClaim = errors.New("not a claim of a node")

	// ErrBusy: the listening node has all the connections it allows, in all or
	// from this node.
	ErrBusy = errors.New("too many connections")

	// ErrNotServed: the listening node does not serve streams of this kind.
	ErrNotServed = errors.New("streams of this kind are not served")

	// ErrRefused: the peer refused this node. The error is also one of those
	// above, where the peer told why.
	ErrRefused = errors.New("peer refused the connection")

	// ErrHandshakeTimeout: a connection was not ready in time.
	ErrHandshakeTimeout = errors.New("no connection within the handshake timeout")

	// ErrClosed: the transport has been closed.
	ErrClosed = errors.New("transport is closed")
)
