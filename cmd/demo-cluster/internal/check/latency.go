package check

import (
	"slices"
	"sync"
	"time"
)

// Latencies collects durations while it is open. Its methods may be called
// concurrently.
type Latencies struct {
	mu     sync.Mutex // guards the fields below
	opened time.Time  // zero while closed
	all    []time.Duration
}

// Open begins a period that counts, for what begins after now.
func (l *Latencies) Open(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.opened = now
}

// Shut ends the period.
func (l *Latencies) Shut() { l.Open(time.Time{}) }

// Add counts the time from begun to now, if both lie in a period that counts.
func (l *Latencies) Add(begun, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.opened.IsZero() && !begun.Before(l.opened) {
		l.all = append(l.all, now.Sub(begun))
	}
}

// Percentiles returns, for each p from 0 to 1, the duration that the share p
// of all does not exceed. Without any it returns zeros.
func (l *Latencies) Percentiles(ps ...float64) []time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.Sort(l.all)
	out := make([]time.Duration, len(ps))
	for i, p := range ps {
		if n := len(l.all); n > 0 {
			out[i] = l.all[min(n-1, int(p*float64(n)))]
		}
	}
	return out
}
