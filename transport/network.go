package transport

import (
	"context"
	"net"
	"time"
)

// Network is what a [Transport] runs on. Connections must behave like TCP's.
// Errors must be those of the system where one fits: syscall.EADDRINUSE for an
// address that is taken.
type Network interface {
	Listen(ctx context.Context, addr string) (net.Listener, error)
	DialContext(ctx context.Context, addr string) (net.Conn, error)
}

// TCP notices within half a minute that a peer is gone without a word: after 25 s
// by these, or when boundUnacked has it give up.
const (
	keepAliveIdle     = 10 * time.Second
	keepAliveInterval = 5 * time.Second
	keepAliveCount    = 3
)

// tcp is the Network of a zero Config.
type tcp struct{}

func (tcp) Listen(ctx context.Context, addr string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAliveConfig: keepAlive(), Control: boundUnacked}
	return lc.Listen(ctx, "tcp", addr)
}

func (tcp) DialContext(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: keepAlive(), Control: boundUnacked}
	return d.DialContext(ctx, "tcp", addr)
}

func keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{
		Enable:   true,
		Idle:     keepAliveIdle,
		Interval: keepAliveInterval,
		Count:    keepAliveCount,
	}
}
