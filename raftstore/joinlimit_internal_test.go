package raftstore

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// Failures from as many sources as are remembered keep no other out, and the
// newest of them are still counted.
func TestJoinLimiter_ManySourcesBlockNobody(t *testing.T) {
	var l joinLimiter
	now := time.Now()
	for i := range joinSourcesMax + 10 {
		for range failedJoinsMax {
			l.failed(fmt.Sprint("source-", i), now.Add(time.Duration(i)*time.Millisecond))
		}
	}
	now = now.Add(2 * time.Second)
	if err := l.allow("another", now); err != nil {
		t.Errorf("one that never failed: %v", err)
	}
	newest := fmt.Sprint("source-", joinSourcesMax+9)
	if err := l.allow(newest, now); !errors.Is(err, errTooManyJoins) {
		t.Errorf("one that has just failed: %v", err)
	}
	if len(l.sources) != joinSourcesMax {
		t.Errorf("%d sources are remembered", len(l.sources))
	}
	if err := l.allow(newest, now.Add(failedJoinsWindow)); err != nil {
		t.Errorf("after its window: %v", err)
	}
	l.failed(newest, now.Add(failedJoinsWindow))
	if err := l.allow(newest, now.Add(failedJoinsWindow)); err != nil {
		t.Errorf("after one failure in a new window: %v", err)
	}
}
