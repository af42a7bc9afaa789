package raftstore

import (
	"maps"
	"sync"
	"time"
)

// lately remembers about what something was done lately, so that it isn't done
// again too soon.
type lately[K comparable] struct {
	pause time.Duration // from one time to the next about the same
	max   int           // of what is remembered: nothing is done about more. Zero is no bound

	mu sync.Mutex // guards at
	at map[K]time.Time
}

// begin tells whether it is time to do it about k, and notes that it is done.
func (l *lately[K]) begin(k K) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(l.at, func(_ K, at time.Time) bool { return now.Sub(at) >= l.pause })
	if _, done := l.at[k]; done || l.max > 0 && len(l.at) >= l.max {
		return false
	}
	if l.at == nil {
		l.at = make(map[K]time.Time)
	}
	l.at[k] = now
	return true
}

// retry lets it be done again about k, for which begin was true, after this time.
func (l *lately[K]) retry(k K, after time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at[k] = time.Now().Add(after - l.pause)
}
