package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Config shapes a [Transport].
type Config struct {
	// ListenAddress is the host and port to listen on. An empty host stands
	// for every interface, port 0 for any free one.
	ListenAddress string

	// Network is what to listen and dial on. Nil means TCP.
	Network Network

	// Identity is who this node is. Its certificate must name exactly this.
	Identity Identity

	// Credentials is where the node's certificate and the roots come from.
	Credentials Credentials

	// Claim returns what this node says of itself in each handshake, to peers
	// that have proved to be nodes of this cluster. Nil means an empty claim.
	Claim func() Claim

	// Authorize tells whether peer may open a stream of this kind to this
	// node: nil, or an error, whose text is sent to the peer. It is called when
	// the peer is known to be a node of this cluster, before any byte of the
	// stream, and must not block. To shut a node out, change what Authorize
	// answers and then call CloseWhere.
	Authorize func(kind Kind, peer PeerInfo) error

	// Admit is the same for streams that this node has opened, when the peer
	// has said welcome: its error ends the stream and is Dial's. Nil means that
	// every node of this cluster will do.
	Admit func(kind Kind, peer PeerInfo) error

	// TakeExpired are the kinds of stream on which a certificate whose time is
	// over counts as well, with Expired set, for Authorize and Admit to judge:
	// so that a node which was off for long can ask for a new one. Where there
	// are any the node itself may start with such a certificate. Expired roots
	// are no obstacle then, where they were valid when the certificate was.
	TakeExpired []Kind

	// Strangers lets nodes that no root vouches for open Join streams. Their
	// Peer has their Key and no Identity, for Authorize too, and what they have open
	// together counts as one node's, but that a source with many streams loses its
	// oldest to one with fewer.
	Strangers bool

	// Resolve returns the address of a node, as host and port.
	Resolve func(ctx context.Context, node string) (string, error)

	// Ready, unless it is nil, is closed when connections may be taken. Until
	// then those of others wait in the system's queue, for as long as their
	// handshake timeout lets them; Dial works from the beginning. It lets a node
	// make sure of its address and its certificate before it has anything that
	// Authorize could look into.
	Ready <-chan struct{}

	// HandshakeTimeout bounds the time from a connection's beginning until it
	// is ready, in both directions. Zero means 5 s.
	HandshakeTimeout time.Duration

	// IdleTimeout ends Raft and Peer streams that others opened, when nothing
	// moved in either direction for that long (or at most twice as long). It is
	// at least a minute. Zero means never: streams may stay quiet until an
	// election, and TCP keepalive ends those whose peer is gone.
	IdleTimeout time.Duration

	// JoinIdleTimeout is the same for Join streams. Zero means 30 s. Those of
	// strangers end after 10 s in any case.
	JoinIdleTimeout time.Duration

	// ConnsPerPeerMax bounds the streams of all kinds that one node may have
	// open to this one. Zero means 32.
	ConnsPerPeerMax int

	// ConnsMax bounds the streams that all nodes together may have open to
	// this one. Zero means 1024.
	ConnsMax int

	// HandshakesMax bounds the connections that have not authenticated yet.
	// Beyond it one of them is closed, or the new one: first those of a source
	// with more than a quarter, a source being an IPv4 address or a /64 of IPv6,
	// and of these first the ones that say nothing. Zero means 128.
	HandshakesMax int

	// OnRefuse is told of each connection of others that is refused: one word
	// of a small set, such as "expired", "removed", "timeout", or "handshake"
	// for whatever is no node at all. It must not block. Nil means nobody.
	OnRefuse func(reason string)

	// Log gets refusals and changes of certificates. Nil means none.
	Log *slog.Logger
}

// idleTimeoutMin keeps streams that are quiet by nature from being cut.
const idleTimeoutMin = time.Minute

// Validate returns all that is wrong with c.
func (c Config) Validate() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(c.ListenAddress == "", "ListenAddress is missing")
	bad(c.Credentials == nil, "Credentials is missing")
	bad(c.Authorize == nil, "Authorize is missing: a node has to say whom it lets in")
	bad(c.Resolve == nil, "Resolve is missing")
	if err := c.Identity.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("Identity: %w", err))
	}
	bad(c.HandshakeTimeout < 0, "HandshakeTimeout %v is negative", c.HandshakeTimeout)
	bad(c.IdleTimeout != 0 && c.IdleTimeout < idleTimeoutMin, "IdleTimeout %v is under %v", c.IdleTimeout, idleTimeoutMin)
	bad(c.JoinIdleTimeout < 0, "JoinIdleTimeout %v is negative", c.JoinIdleTimeout)
	bad(c.ConnsPerPeerMax < 0, "ConnsPerPeerMax %d is negative", c.ConnsPerPeerMax)
	bad(c.ConnsMax < 0, "ConnsMax %d is negative", c.ConnsMax)
	bad(c.HandshakesMax < 0, "HandshakesMax %d is negative", c.HandshakesMax)
	return errors.Join(errs...)
}

// withDefaults fills what is zero.
func (c Config) withDefaults() Config {
	if c.Network == nil {
		c.Network = tcp{}
	}
	if c.HandshakeTimeout == 0 {
		c.HandshakeTimeout = 5 * time.Second
	}
	if c.JoinIdleTimeout == 0 {
		c.JoinIdleTimeout = 30 * time.Second
	}
	if c.ConnsPerPeerMax == 0 {
		c.ConnsPerPeerMax = 32
	}
	if c.ConnsMax == 0 {
		c.ConnsMax = 1024
	}
	if c.HandshakesMax == 0 {
		c.HandshakesMax = 128
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// idleTimeout returns after which time a quiet stream ends; zero is never.
func (c Config) idleTimeout(k Kind) time.Duration {
	if k == Join {
		return c.JoinIdleTimeout
	}
	return c.IdleTimeout
}
