package gossip

import (
	"log"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// warnInterval is the shortest time between two warnings from memberlist:
// strangers can cause them at will.
const warnInterval = 10 * time.Second

// newLogger returns a logger for memberlist, whose lines begin with a level in
// brackets. Warnings and errors are passed on as warnings now and then, the
// rest for debugging: in gossip, failures are everyday events.
func newLogger(out *slog.Logger) *log.Logger {
	return log.New(&lineWriter{out: out}, "", 0)
}

type lineWriter struct {
	out *slog.Logger

	mu   sync.Mutex // guards the field below
	next time.Time
}

func (w *lineWriter) Write(p []byte) (int, error) {
	line := strings.TrimSpace(string(p))
	serious := strings.HasPrefix(line, "[WARN]") || strings.HasPrefix(line, "[ERR")
	if serious && w.mayWarn(time.Now()) {
		w.out.Warn("memberlist", "line", line)
	} else {
		w.out.Debug("memberlist", "line", line)
	}
	return len(p), nil
}

func (w *lineWriter) mayWarn(now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now.Before(w.next) {
		return false
	}
	w.next = now.Add(warnInterval)
	return true
}
