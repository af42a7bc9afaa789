package raftstore

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// Bounds of joins that fail. A node that has its token right never meets them.
const (
	failedJoinsMax    = 10
	failedJoinsWindow = time.Minute

	// joinSourcesMax bounds what is remembered. Where more sources fail within a
	// window, new ones are refused until it is over.
	joinSourcesMax = 1024
)

// errTooManyJoins: the source has shown bad tokens too often. It may ask again
// later.
var errTooManyJoins = errors.New("too many joins have failed from this address: wait a minute")

// joinLimiter counts the joins that have failed, by where they came from.
type joinLimiter struct {
	mu      sync.Mutex // guards the fields below
	since   time.Time  // when the window began
	sources map[string]int
}

// allow returns errTooManyJoins where a source may not ask at this time.
func (l *joinLimiter) allow(source string, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.since) >= failedJoinsWindow {
		l.since, l.sources = now, make(map[string]int)
	}
	failures, known := l.sources[source]
	if failures >= failedJoinsMax || !known && len(l.sources) >= joinSourcesMax {
		return fmt.Errorf("%w (%s)", errTooManyJoins, source)
	}
	return nil
}

// failed counts a join that allow has allowed.
func (l *joinLimiter) failed(source string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.since) < failedJoinsWindow {
		l.sources[source]++
	}
}
