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
	// window, the one that began first is forgotten: to guess a token is hopeless
	// anyhow, and a flood from many must not keep a node out.
	joinSourcesMax = 1024
)

// errTooManyJoins: the source has shown bad tokens too often. It may ask again
// later.
var errTooManyJoins = errors.New("too many joins have failed from this address: wait a minute")

// joinLimiter counts the joins that have failed, by where they came from.
type joinLimiter struct {
	mu      sync.Mutex // guards sources
	sources map[string]failedJoins
}

// failedJoins are those of one source in its window.
type failedJoins struct {
	since time.Time
	count int
}

// allow returns errTooManyJoins where a source may not ask at this time.
func (l *joinLimiter) allow(source string, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.sources[source]; f.count >= failedJoinsMax && now.Sub(f.since) < failedJoinsWindow {
		return fmt.Errorf("%w (%s)", errTooManyJoins, source)
	}
	return nil
}

// failed counts a join that allow has allowed.
func (l *joinLimiter) failed(source string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f, known := l.sources[source]
	switch {
	case l.sources == nil:
		l.sources = make(map[string]failedJoins)
	case !known && len(l.sources) >= joinSourcesMax:
		l.forgetOldest()
	}
	if !known || now.Sub(f.since) >= failedJoinsWindow {
		f = failedJoins{since: now}
	}
	f.count++
	l.sources[source] = f
}

// forgetOldest drops the source whose window began first. It is called under mu.
func (l *joinLimiter) forgetOldest() {
	oldest, first := "", time.Time{}
	for source, f := range l.sources {
		if first.IsZero() || f.since.Before(first) {
			oldest, first = source, f.since
		}
	}
	delete(l.sources, oldest)
}
