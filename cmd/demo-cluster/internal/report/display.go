package report

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Display shows a run while it goes on. Its methods may be called concurrently.
type Display interface {
	// Printf shows text that stays. It adds the end of the line.
	Printf(format string, args ...any)

	// Servers shows how the servers are now.
	Servers(rows []Row)

	// Close leaves the terminal as it was. It may be called again.
	Close()
}

// Row is the state of one server.
type Row struct {
	Server  string
	State   string
	Role    string
	Term    uint64
	Applied uint64

	// Lag is how many log entries the server is behind the leader. Known is
	// false where the server doesn't say how it is: then only Server, State,
	// WritesPerSecond and Events count.
	Lag   uint64
	Known bool

	// WritesPerSecond are those acknowledged through this server, Events what
	// its watcher has received so far.
	WritesPerSecond float64
	Events          int
}

// plain shows lines only, and the servers on one line now and then.
type plain struct {
	every time.Duration

	mu    sync.Mutex // guards the fields below
	w     io.Writer
	shown time.Time
}

// NewPlain returns a display that writes lines to w, with one for the servers
// at most every so often.
func NewPlain(w io.Writer, every time.Duration) Display {
	return &plain{w: w, every: every, shown: time.Now()}
}

func (p *plain) Printf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprintf(p.w, format+"\n", args...) // a reader that went away is no reason to stop
}

func (p *plain) Servers(rows []Row) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); now.Sub(p.shown) >= p.every {
		p.shown = now
		_, _ = fmt.Fprintln(p.w, "      "+summary(rows))
	}
}

func (p *plain) Close() {}

// summary is the servers in one line.
func summary(rows []Row) string {
	parts := make([]string, 0, len(rows)+1)
	var writes float64
	events := 0
	for _, r := range rows {
		writes += r.WritesPerSecond
		events += r.Events
		if !r.Known {
			parts = append(parts, fmt.Sprintf("%s %s", r.Server, r.State))
			continue
		}
		parts = append(parts, fmt.Sprintf("%s %s term %d applied %d", r.Server, r.Role, r.Term, r.Applied))
	}
	parts = append(parts, fmt.Sprintf("%.0f writes/s, %d watch events", writes, events))
	return strings.Join(parts, " | ")
}
