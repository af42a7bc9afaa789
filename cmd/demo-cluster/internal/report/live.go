package report

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"
)

// Control sequences of ANSI terminals (ECMA-48).
const (
	hideCursor = "\x1b[?25l"
	showCursor = "\x1b[?25h"
	clearBelow = "\x1b[J"
	upLines    = "\x1b[%dA"
)

// live keeps a table of the servers below the lines that stay.
type live struct {
	width func() int

	mu    sync.Mutex // guards the fields below
	w     io.Writer
	rows  []Row
	drawn int // lines of the table on the screen
	done  bool
}

// NewLive returns a display for a terminal. It fails where f is none, or one
// that can't move its cursor.
func NewLive(f *os.File) (Display, error) {
	if !term.IsTerminal(int(f.Fd())) {
		return nil, fmt.Errorf("%s is not a terminal", f.Name())
	}
	if t := os.Getenv("TERM"); t == "" || t == "dumb" {
		return nil, fmt.Errorf("terminal type %q can't move its cursor", t)
	}
	width := func() int {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			return w
		}
		return 80
	}
	return newLive(f, width), nil
}

func newLive(w io.Writer, width func() int) *live {
	return &live{w: w, width: width}
}

func (l *live) Printf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.draw(fmt.Sprintf(format, args...) + "\n")
}

func (l *live) Servers(rows []Row) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rows = rows
	l.draw("")
}

// draw replaces the table by text that stays and the table below it, in one
// write so that nothing flickers. The caller holds mu.
func (l *live) draw(text string) {
	var b strings.Builder
	if l.drawn > 0 {
		fmt.Fprintf(&b, upLines, l.drawn)
		b.WriteString("\r" + clearBelow)
	}
	b.WriteString(text)
	l.drawn = 0
	if len(l.rows) > 0 && !l.done {
		b.WriteString(hideCursor)
		// A line that wraps would make the table higher than it is known to be.
		width := l.width() - 1
		for _, line := range table(l.rows) {
			b.WriteString(clip(line, width) + "\n")
			l.drawn++
		}
	}
	_, _ = io.WriteString(l.w, b.String()) // a terminal that went away is no reason to stop
}

func (l *live) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.done {
		l.done = true
		l.draw(showCursor)
	}
}

// table is the servers as lines of text.
func table(rows []Row) []string {
	const format = "  %-5s %-10s %5s %9s %6s %9s %12s  %s"
	out := []string{"", fmt.Sprintf(format, "node", "role", "term", "applied", "lag", "writes/s", "watch events", "state")}
	for _, r := range rows {
		role, term, applied, lag := "-", "-", "-", "-"
		if r.Known {
			role, term = r.Role, fmt.Sprint(r.Term)
			applied, lag = fmt.Sprint(r.Applied), fmt.Sprint(r.Lag)
		}
		out = append(out, fmt.Sprintf(format, r.Server, role, term, applied, lag,
			fmt.Sprintf("%.0f", r.WritesPerSecond), fmt.Sprint(r.Events), r.State))
	}
	return out
}

func clip(line string, width int) string {
	if runes := []rune(line); width >= 0 && len(runes) > width {
		return string(runes[:width])
	}
	return line
}
