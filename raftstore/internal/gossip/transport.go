package gossip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/spire-raft/spire-raft/store"
)

// Limits on what arrives. memberlist holds a message in memory before it can
// tell whether the sender has the key, and its own limit is 20 MiB a stream.
const (
	// packetBytesMax leaves room above the 1,400 bytes that memberlist sends.
	packetBytesMax = 2 << 10

	// streamBytesMax is enough for the state of more than 80 members with the
	// longest addresses, and 250 with usual ones.
	streamBytesMax = 64 << 10

	// streamsMax bounds the streams that others can have open. Beyond it one of
	// the host with most of them is closed, see least.
	streamsMax = 64

	// streamDuration is the life of a stream.
	streamDuration = 5 * time.Second
)

// bindRetries is how often to look for a port that is free for TCP and UDP.
const bindRetries = 16

// transport is a memberlist.Transport over TCP and UDP with limits.
type transport struct {
	tcp net.Listener
	udp *net.UDPConn

	advertiseIP   net.IP
	advertisePort int

	packets chan *memberlist.Packet
	streams chan net.Conn
	open    atomic.Bool // until it is, all that arrives is dropped

	ctx    context.Context // ends dials and hand-overs at Shutdown
	cancel context.CancelFunc
	wg     sync.WaitGroup // the two listening goroutines

	mu      sync.Mutex // guards the fields below
	conns   map[*limitedConn]struct{}
	inbound int
	closed  bool
}

// listen binds address. What others reach it by is advertise, "host:port", or
// what it listens on where that is empty or has port 0. The goroutines it starts run until Shutdown.
func listen(ctx context.Context, address, advertise string) (*transport, error) {
	tcp, udp, err := bind(ctx, address)
	if err != nil {
		return nil, err
	}
	t := &transport{
		tcp:     tcp,
		udp:     udp,
		packets: make(chan *memberlist.Packet),
		streams: make(chan net.Conn),
		conns:   map[*limitedConn]struct{}{},
	}
	t.ctx, t.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := t.findAdvertised(advertise); err != nil {
		return nil, errors.Join(err, t.Shutdown())
	}
	t.wg.Go(t.accept)
	t.wg.Go(t.receive)
	return t, nil
}

// bind listens with TCP and UDP on one port. Where the kernel chooses, the port
// it gives for TCP may be taken for UDP, so it is asked again.
func bind(ctx context.Context, address string) (net.Listener, *net.UDPConn, error) {
	var lc net.ListenConfig
	for attempt := 1; ; attempt++ {
		tcp, err := lc.Listen(ctx, "tcp", address)
		if err != nil {
			return nil, nil, explainBind(address, err)
		}
		udp, err := lc.ListenPacket(ctx, "udp", tcp.Addr().String())
		if err == nil {
			return tcp, udp.(*net.UDPConn), nil
		}
		err = errors.Join(err, tcp.Close())
		if _, port, _ := net.SplitHostPort(address); port != "0" || attempt == bindRetries {
			return nil, nil, explainBind(address, err)
		}
	}
}

func explainBind(address string, err error) error {
	return fmt.Errorf("gossip can't listen on %s: %w: choose a port that is free for TCP and UDP", address, err)
}

func (t *transport) addr() *net.TCPAddr { return t.tcp.Addr().(*net.TCPAddr) }

// FinalAdvertiseAddr returns where others reach this transport.
func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.advertiseIP, t.advertisePort, nil
}

// findAdvertised looks up where others reach this transport. memberlist wants an
// IP.
func (t *transport) findAdvertised(advertise string) error {
	ip, port := t.addr().IP, t.addr().Port
	if advertise != "" {
		host, p, err := net.SplitHostPort(advertise)
		if err != nil {
			return err
		}
		if ip, err = t.lookup(host); err != nil {
			return fmt.Errorf("look up gossip advertise address %s: %w", advertise, err)
		}
		if p != "0" {
			if port, err = strconv.Atoi(p); err != nil {
				return err
			}
		}
	}
	if ip.IsUnspecified() {
		return fmt.Errorf("%w: gossip listens on all addresses (%s): set the advertise address to the one that others reach",
			store.ErrInvalid, t.addr())
	}
	if ip4 := ip.To4(); ip4 != nil {
		ip = ip4
	}
	t.advertiseIP, t.advertisePort = ip, port
	return nil
}

// lookup returns an address of host that the listener can be reached by.
func (t *transport) lookup(host string) (net.IP, error) {
	network := "ip4"
	if ip := t.addr().IP; ip.To4() == nil {
		network = "ip6"
		if ip.IsUnspecified() {
			network = "ip" // listens on both
		}
	}
	ips, err := net.DefaultResolver.LookupIP(t.ctx, network, host)
	if err != nil {
		return nil, err
	}
	return ips[0], nil // the resolver returns an error rather than none
}

// WriteTo sends a packet.
func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return time.Time{}, err
	}
	_, err = t.udp.WriteTo(b, to)
	return time.Now(), err
}

// WriteToAddress is WriteTo; names don't matter here.
func (t *transport) WriteToAddress(b []byte, addr memberlist.Address) (time.Time, error) {
	return t.WriteTo(b, addr.Addr)
}

// DialTimeout opens a stream.
func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(t.ctx, timeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c, ok := t.track(conn, false)
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

// DialAddressTimeout is DialTimeout; names don't matter here.
func (t *transport) DialAddressTimeout(addr memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return t.DialTimeout(addr.Addr, timeout)
}

// PacketCh delivers packets that have arrived.
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// StreamCh delivers streams that have arrived.
func (t *transport) StreamCh() <-chan net.Conn { return t.streams }

// Shutdown closes everything, streams in use included, and waits for the
// listening goroutines.
func (t *transport) Shutdown() error {
	t.cancel()
	err := errors.Join(ignoreClosed(t.tcp.Close()), ignoreClosed(t.udp.Close()))
	t.mu.Lock()
	t.closed = true
	for c := range t.conns {
		_ = c.Conn.Close() // its user closes it again and forgets it
	}
	t.mu.Unlock()
	t.wg.Wait()
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// receive hands packets over until Shutdown.
func (t *transport) receive() {
	buf := make([]byte, packetBytesMax+1)
	for {
		n, from, err := t.udp.ReadFrom(buf)
		if t.ctx.Err() != nil {
			return
		}
		if err != nil {
			t.pause()
			continue
		}
		if n == 0 || n > packetBytesMax || !t.open.Load() {
			continue
		}
		p := &memberlist.Packet{Buf: append([]byte(nil), buf[:n]...), From: from, Timestamp: time.Now()}
		select {
		case t.packets <- p:
		case <-t.ctx.Done():
			return
		}
	}
}

// accept hands streams over until Shutdown.
func (t *transport) accept() {
	for {
		conn, err := t.tcp.Accept()
		if t.ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return
		}
		if err != nil {
			t.pause()
			continue
		}
		if !t.open.Load() {
			_ = conn.Close()
			continue
		}
		c, ok := t.track(conn, true)
		if !ok {
			continue
		}
		select {
		case t.streams <- c:
		case <-t.ctx.Done():
			_ = c.Close()
			return
		}
	}
}

// pause keeps a listener that fails, for want of file descriptors say, from
// spinning.
func (t *transport) pause() {
	select {
	case <-time.After(100 * time.Millisecond):
	case <-t.ctx.Done():
	}
}
