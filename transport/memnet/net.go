package memnet

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"
)

// Config shapes a [Net].
type Config struct {
	// Seed is of the source that jitter is drawn from.
	Seed uint64

	// Latency is how long bytes are on the way; up to Jitter is added at random.
	Latency, Jitter time.Duration

	// BufferBytes bounds what may be on the way in one direction of a
	// connection. Zero means 4 MiB.
	BufferBytes int

	// UnackedMax is how long connections survive the cut of their link. Zero
	// means 30 s.
	UnackedMax time.Duration
}

// Net is a network of hosts. Its methods may be called concurrently.
type Net struct {
	cfg Config

	mu      sync.Mutex // guards the fields below, and all of hosts, listeners and conns
	rng     *rand.Rand
	latency time.Duration
	jitter  time.Duration
	hosts   map[string]*Host
	cuts    map[link]*time.Timer // kills the link's connections when it fires
	conns   map[*conn]struct{}   // both ends of each connection
	ports   int                  // the last one given out
	healed  event
}

// link is one direction between two hosts.
type link struct{ from, to string }

// New returns a network without hosts.
func New(cfg Config) *Net {
	if cfg.BufferBytes == 0 {
		cfg.BufferBytes = 4 << 20
	}
	if cfg.UnackedMax == 0 {
		cfg.UnackedMax = 30 * time.Second
	}
	return &Net{
		cfg:     cfg,
		rng:     rand.New(rand.NewPCG(cfg.Seed, 0)),
		latency: cfg.Latency,
		jitter:  cfg.Jitter,
		hosts:   make(map[string]*Host),
		cuts:    make(map[link]*time.Timer),
		conns:   make(map[*conn]struct{}),
		ports:   49151,
	}
}

// Host returns the host of a name, which it makes at first.
func (n *Net) Host(name string) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hosts[name]
	if h == nil {
		h = &Host{net: n, name: name, listeners: make(map[string]*listener)}
		n.hosts[name] = h
	}
	return h
}

// SetLatency changes how long bytes are on the way that are sent from now on.
func (n *Net) SetLatency(latency, jitter time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.latency, n.jitter = latency, jitter
}

// Partition cuts every link between hosts of different groups and heals all
// others. The hosts that are in no group form one more. Hosts that are made
// later are connected to all.
func (n *Net) Partition(groups ...[]string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	group := make(map[string]int)
	for i, names := range groups {
		for _, name := range names {
			if n.hosts[name] == nil {
				panic(fmt.Sprintf("memnet: partition of %q, which is no host", name))
			}
			group[name] = i + 1
		}
	}
	for from := range n.hosts {
		for to := range n.hosts {
			if group[from] != group[to] {
				n.cut(link{from, to})
			} else {
				n.heal(link{from, to})
			}
		}
	}
}

// Cut cuts the link in one direction.
func (n *Net) Cut(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut(link{from, to})
}

// Heal heals every link.
func (n *Net) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for l := range n.cuts {
		n.heal(l)
	}
}

// Reset breaks every connection between two hosts.
func (n *Net) Reset(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.kill(link{a, b}, syscall.ECONNRESET)
}

func (n *Net) cut(l link) {
	if n.cuts[l] != nil {
		return
	}
	n.cuts[l] = time.AfterFunc(n.cfg.UnackedMax, func() { n.expire(l) })
	for c := range n.conns {
		if c.out.link == l {
			c.out.hold()
		}
	}
}

// expire is called when l has been cut for UnackedMax.
func (n *Net) expire(l link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cuts[l] != nil {
		n.kill(l, syscall.ETIMEDOUT)
	}
}

func (n *Net) heal(l link) {
	timer := n.cuts[l]
	if timer == nil {
		return
	}
	timer.Stop()
	delete(n.cuts, l)
	for c := range n.conns {
		if c.out.link == l {
			c.out.resend()
		}
	}
	n.healed.signal()
}

// kill ends the connections between the hosts of l, in whatever direction they
// were opened.
func (n *Net) kill(l link, err error) {
	for c := range n.conns {
		if c.out.link == l || c.in.link == l {
			c.die(err)
		}
	}
}

// delay draws the latency of something that is sent now.
func (n *Net) delay() time.Duration {
	if n.jitter <= 0 {
		return n.latency
	}
	return n.latency + time.Duration(n.rng.Int64N(int64(n.jitter)+1))
}

// event lets any number of goroutines wait for a change of what a mutex
// guards. Both methods are called under the mutex.
type event struct{ ch chan struct{} }

// wait returns a channel that is closed at the next signal.
func (e *event) wait() <-chan struct{} {
	if e.ch == nil {
		e.ch = make(chan struct{})
	}
	return e.ch
}

func (e *event) signal() {
	if e.ch != nil {
		close(e.ch)
		e.ch = nil
	}
}
