package transport

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// Connections that have not authenticated. There is room for HandshakesMax of
// them; who has to go when there are more is decided so that a flood from some
// addresses, or of connections that say nothing, keeps no node out.

// progressTime is how long a handshake may take from one step to the next, some
// round trips, before it is as good as one that says nothing.
const progressTime = time.Second

// sharesPerSource: a source with more than this part of HandshakesMax gives way
// first.
const sharesPerSource = 4

// SourceOf is what connections from one host have in common: the address, or
// the /64 of IPv6, which one host has to itself. Limits count by it.
func SourceOf(addr net.Addr) string {
	host, _, err := net.SplitHostPort(addr.String())
	if err != nil {
		return addr.String()
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	if ip = ip.Unmap().WithZone(""); ip.Is4() {
		return ip.String()
	}
	prefix, _ := ip.Prefix(64) // no error: an IPv6 address has 64 bits
	return prefix.String()
}

// advanced notes a step of the handshake.
func (c *Conn) advanced() { c.step.Store(time.Now().UnixNano()) }

// addOpening takes up a connection that somebody has opened. It makes room for
// it where there are too many, or returns ErrBusy.
func (t *Transport) addOpening(c *Conn) error {
	var evicted *Conn
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return ErrClosed
	}
	if len(t.opening) >= t.cfg.HandshakesMax {
		i := t.leastOpening(c.source)
		if i < 0 {
			t.mu.Unlock()
			return fmt.Errorf("%w: %d that have not authenticated yet", ErrBusy, t.cfg.HandshakesMax)
		}
		evicted = t.opening[i]
		t.opening = slices.Delete(t.opening, i, i+1)
	}
	t.opening = append(t.opening, c)
	t.mu.Unlock()
	if evicted != nil {
		evicted.cut()
	}
	return nil
}

// leastOpening returns which of t.opening gives way to a newcomer, or -1 where
// that is the newcomer itself. Where one source has more than its share it is
// one of that source's, which is the only way to lose a handshake that goes on.
// Of these it is the oldest that has said nothing, else the one whose last step
// is longest ago. It is called under t.mu.
func (t *Transport) leastOpening(newcomer string) int {
	perSource := make(map[string]int)
	busiest := newcomer
	for _, c := range t.opening {
		if perSource[c.source]++; perSource[c.source] > perSource[busiest] {
			busiest = c.source
		}
	}
	greedy := perSource[busiest] > t.cfg.HandshakesMax/sharesPerSource
	least := -1
	for i, c := range t.opening {
		if greedy && c.source != busiest {
			continue
		}
		if least < 0 || c.step.Load() < t.opening[least].step.Load() {
			least = i
		}
	}
	// None goes for one of the same source, or where nobody is greedy.
	goesOn := time.Since(time.Unix(0, t.opening[least].step.Load())) < progressTime
	if goesOn && (!greedy || newcomer == busiest) {
		return -1
	}
	return least
}

// strangerTime is what a node that joins needs for its one request. A stranger's
// stream that is older gives way to one from a source with fewer.
const strangerTime = 2 * time.Second

// strangerLife bounds a stranger's stream, whatever it says: a join is one
// request, which can be made again.
const strangerLife = 10 * time.Second

// leastStranger returns which stranger's stream gives way to one more from
// newcomer, or nil where none does: the oldest one of the source that has the
// most, if that has more than newcomer will. Else whoever opens streams and says
// nothing on them would keep every node from joining. It is called under t.mu.
func (t *Transport) leastStranger(newcomer string) *Conn {
	perSource := make(map[string]int)
	most := 0
	for c := range t.inbound {
		if c.peer.Node == "" {
			perSource[c.source]++
			most = max(most, perSource[c.source])
		}
	}
	var least *Conn
	for c := range t.inbound {
		if c.peer.Node == "" && perSource[c.source] == most && (least == nil || c.step.Load() < least.step.Load()) {
			least = c
		}
	}
	more := most - perSource[newcomer]
	if more > 1 || more == 1 && time.Since(time.Unix(0, least.step.Load())) > strangerTime {
		return least
	}
	return nil
}
