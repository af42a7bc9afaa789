package raftstore_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spire-raft/spire-raft/transport"
)

// evilRole is what the evil peer shows of itself.
type evilRole struct {
	name         string
	certificates []tls.Certificate // none, or one
	claim        transport.Claim
	member       bool
}

// evilPeer attacks nodes.
type evilPeer struct {
	ctx     context.Context
	targets []string // addresses
	look    func() evilSight
	seen    atomic.Pointer[evilSight] // what look saw last: it waits for raft, so not each message has its own

	disruptions chan struct{} // a token for each election that it may cost
	silent      chan struct{} // holds a token for each stream that says nothing

	dialed, welcomed, frames, withheld atomic.Int64
}

// lookInterval is short for a log that grows by an entry per write.
const lookInterval = 10 * time.Millisecond

// An election takes a second or so: with one message a second that costs one
// there is time between them to write.
const disruptInterval = time.Second

const silentStreams = 8

func newEvilPeer(ctx context.Context, targets []string, look func() evilSight) *evilPeer {
	e := &evilPeer{
		ctx: ctx, targets: targets, look: look,
		disruptions: make(chan struct{}, 1), silent: make(chan struct{}, silentStreams),
	}
	e.lookAround()
	return e
}

func (e *evilPeer) lookAround() {
	at := e.look()
	e.seen.Store(&at)
}

// every calls fn until ctx ends.
func (e *evilPeer) every(interval time.Duration, fn func()) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for e.ctx.Err() == nil {
		select {
		case <-tick.C:
			fn()
		case <-e.ctx.Done():
		}
	}
}

// attack runs until ctx ends, in streams of the roles, a member in several at
// once: most is believed of what it says.
func (e *evilPeer) attack(seed uint64, roles []evilRole) {
	const atOnceMax = 6
	var running sync.WaitGroup
	running.Go(func() { e.every(lookInterval, e.lookAround) })
	running.Go(func() {
		e.every(disruptInterval, func() {
			select {
			case e.disruptions <- struct{}{}:
			default:
			}
		})
	})
	for i, role := range roles {
		atOnce := 1
		if role.member {
			atOnce = atOnceMax
		}
		for j := range atOnce {
			m := newMouth(seed, uint64(i*atOnceMax+j), func() evilSight { return *e.seen.Load() })
			running.Go(func() {
				for e.ctx.Err() == nil {
					e.stream(m, role, &running)
				}
			})
		}
	}
	running.Wait()
}

// stream opens a stream, says something, and ends it, or leaves it to a
// goroutine of running to do so.
func (e *evilPeer) stream(m *evilMouth, role evilRole, running *sync.WaitGroup) {
	raw, err := (&net.Dialer{Timeout: time.Second}).DialContext(e.ctx, "tcp", pick(m, e.targets...))
	if err != nil {
		return
	}
	e.dialed.Add(1)
	stop := context.AfterFunc(e.ctx, func() { raw.Close() })
	ended := func() {
		stop()
		raw.Close()
	}
	_ = raw.SetDeadline(time.Now().Add(5 * time.Second))
	conn := e.speak(m, role, raw)
	if m.IntN(10) == 0 {
		select {
		case e.silent <- struct{}{}:
			wait := time.Duration(m.IntN(4000)) * time.Millisecond
			running.Go(func() {
				defer func() { <-e.silent }()
				defer ended()
				select {
				case <-time.After(wait):
				case <-e.ctx.Done():
				}
			})
			return
		default:
		}
	}
	if m.IntN(2) == 0 && conn != nil {
		conn.Close() // with an alert, else without a word
	}
	ended()
}

// speak says whatever comes to it. It returns the TLS connection if there is
// one.
func (e *evilPeer) speak(m *evilMouth, role evilRole, raw net.Conn) net.Conn {
	if m.IntN(20) == 0 { // not even TLS
		_, _ = raw.Write(m.random(m.IntN(2000)))
		return nil
	}
	kind := pick(m, transport.Raft, transport.Peer, transport.Join)
	protocol := kind.ALPN()
	if m.IntN(20) == 0 {
		protocol = pick(m, "spire-raft/raft/1", "h2", protocol+"x")
	}
	conn := tls.Client(raw, &tls.Config{
		Certificates: role.certificates, NextProtos: []string{protocol}, MinVersion: tls.VersionTLS13,
		InsecureSkipVerify: true, // it doesn't care whom it attacks
	})
	if conn.HandshakeContext(e.ctx) != nil {
		return nil
	}
	claim := encodeClaim(role.claim)
	if m.IntN(5) == 0 {
		claim = m.mutate(claim)
		_ = raw.SetReadDeadline(time.Now().Add(200 * time.Millisecond)) // the node may wait for the rest
	}
	if _, err := conn.Write(claim); err != nil {
		return conn
	}
	var answer [1]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil || answer[0] != 0 {
		return conn
	}
	_ = raw.SetReadDeadline(time.Now().Add(5 * time.Second))
	e.welcomed.Add(1)
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		_, _ = io.Copy(io.Discard, conn)
	}()
	e.talk(m, role, kind, conn)
	if m.IntN(2) == 0 { // hears the answers out
		select {
		case <-heard:
		case <-time.After(time.Duration(m.IntN(20)) * time.Millisecond):
		}
	}
	return conn
}

// talk sends frames until one is not whole: what comes next would be the rest of
// it, and mean something else.
func (e *evilPeer) talk(m *evilMouth, role evilRole, kind transport.Kind, conn net.Conn) {
	for range 1 + m.IntN(40) {
		b := m.frame(kind)
		harm, whole := m.judge(kind, b)
		if role.member && !e.may(harm) {
			e.withheld.Add(1)
			continue
		}
		if _, err := conn.Write(b); err != nil || !whole {
			return
		}
		e.frames.Add(1)
	}
}

func (e *evilPeer) may(h harm) bool {
	switch h {
	case none:
		return true
	case disrupts:
		select {
		case <-e.disruptions:
			return true
		default:
			return false
		}
	default:
		return false
	}
}

// encodeClaim is how a claim goes over the wire, see docs/FORMATS.md.
func encodeClaim(c transport.Claim) []byte {
	var b []byte
	for _, text := range []string{c.Instance, c.Disk} {
		b = append(append(b, byte(len(text))), text...)
	}
	b = append(b, byte(len(c.Openings)))
	for _, o := range c.Openings {
		b = slices.Concat(binary.BigEndian.AppendUint64(b, o.Number), o.Nonce[:])
	}
	return b
}
