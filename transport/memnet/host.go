package memnet

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"
)

// Host is a machine on a [Net]. It implements transport.Network. Addresses are
// "host:port", with the name of the host.
type Host struct {
	net  *Net
	name string

	down      bool
	listeners map[string]*listener // by port
}

// Stop ends everything on the host as if its processes had been killed: its
// listeners and connections are gone, and its peers see resets, where the links
// let them through. Until Start nothing can be opened to or from it.
func (h *Host) Stop() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.down = true
	for _, l := range h.listeners {
		l.close()
	}
	for c := range h.net.conns {
		if c.out.link.from == h.name {
			c.abort()
		}
	}
}

// Start makes the host usable again after Stop.
func (h *Host) Start() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.down = false
}

// addr is an address on a Net.
type addr string

func (addr) Network() string  { return "mem" }
func (a addr) String() string { return string(a) }

// backlogMax is how many connections a listener keeps until they are accepted.
// Beyond it they are refused.
const backlogMax = 512

// Listen listens on a port of this host. The host part of the address is empty
// or its name; port 0 is any free one.
func (h *Host) Listen(ctx context.Context, address string) (net.Listener, error) {
	fail := func(err error) (net.Listener, error) {
		return nil, &net.OpError{Op: "listen", Net: "mem", Addr: addr(address), Err: err}
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	name, port, err := net.SplitHostPort(address)
	if err != nil {
		return fail(err)
	}
	if name != "" && name != h.name {
		return fail(os.NewSyscallError("bind", syscall.EADDRNOTAVAIL))
	}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if h.down {
		return fail(syscall.ENETDOWN)
	}
	if port == "0" {
		port = h.net.port()
	}
	if h.listeners[port] != nil {
		return fail(os.NewSyscallError("bind", syscall.EADDRINUSE))
	}
	l := &listener{host: h, port: port, backlog: make(chan *conn, backlogMax), closed: make(chan struct{})}
	h.listeners[port] = l
	return l, nil
}

// port returns one that has not been used. It is called under mu.
func (n *Net) port() string {
	n.ports++
	return strconv.Itoa(n.ports)
}

// DialContext connects to an address of any host. While a link between them is
// cut it waits.
func (h *Host) DialContext(ctx context.Context, address string) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "mem", Addr: addr(address), Err: err}
	}
	name, port, err := net.SplitHostPort(address)
	if err != nil {
		return fail(err)
	}
	n := h.net
	n.mu.Lock()
	for arrived := false; ; {
		if h.down {
			n.mu.Unlock()
			return fail(syscall.ENETDOWN)
		}
		cut := n.cuts[link{h.name, name}] != nil || n.cuts[link{name, h.name}] != nil
		if arrived && !cut {
			break
		}
		var timer <-chan time.Time
		var healed <-chan struct{}
		if cut {
			healed = n.healed.wait()
		} else {
			timer = time.After(n.delay() + n.delay()) // there and back
		}
		n.mu.Unlock()
		select {
		case <-timer:
			arrived = true
		case <-healed:
		case <-ctx.Done():
			return fail(ctx.Err())
		}
		n.mu.Lock()
	}
	defer n.mu.Unlock()
	if c := n.connect(h, name, port); c != nil {
		return c, nil
	}
	return fail(os.NewSyscallError("connect", syscall.ECONNREFUSED))
}

// connect makes a connection from h, and returns nil where nobody listens. It is
// called under mu.
func (n *Net) connect(h *Host, name, port string) *conn {
	target := n.hosts[name]
	if target == nil || target.listeners[port] == nil {
		return nil
	}
	there := &stream{net: n, link: link{h.name, name}}
	back := &stream{net: n, link: link{name, h.name}}
	local := addr(net.JoinHostPort(h.name, n.port()))
	remote := addr(net.JoinHostPort(name, port))
	c := &conn{net: n, local: local, remote: remote, in: back, out: there}
	far := &conn{net: n, local: remote, remote: local, in: there, out: back}
	c.far, far.far = far, c
	select {
	case target.listeners[port].backlog <- far:
	default:
		return nil
	}
	n.conns[c] = struct{}{}
	n.conns[far] = struct{}{}
	return c
}

// listener is an open port.
type listener struct {
	host    *Host
	port    string
	backlog chan *conn
	closed  chan struct{}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, l.errClosed()
	default:
	}
	select {
	case c := <-l.backlog:
		return c, nil
	case <-l.closed:
		return nil, l.errClosed()
	}
}

func (l *listener) errClosed() error {
	return &net.OpError{Op: "accept", Net: "mem", Addr: l.Addr(), Err: net.ErrClosed}
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.host.net.mu.Lock()
	defer l.host.net.mu.Unlock()
	if l.host.listeners[l.port] != l {
		return fmt.Errorf("close listener on %s: %w", l.Addr(), net.ErrClosed)
	}
	l.close()
	return nil
}

// close is called under mu.
func (l *listener) close() {
	delete(l.host.listeners, l.port)
	close(l.closed)
	for {
		select {
		case c := <-l.backlog:
			c.abort()
		default:
			return
		}
	}
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return addr(net.JoinHostPort(l.host.name, l.port)) }
