package raftstore

import (
	"testing"
	"testing/synctest"
	"time"
)

// A leader looks many times a second.
func TestRotation_SaysWhomItWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r rotation
		said := 0
		for _, tc := range []struct {
			name    string
			index   uint64
			waiting []string
			looks   int // one a second
			said    int
		}{
			{"not at once", 1, []string{"n2"}, 60, 0},
			{"after a minute", 1, []string{"n2"}, 1, 1},
			{"once an hour", 1, []string{"n2"}, 2 * 60 * 60, 2},
			{"not of a step that has just begun", 2, []string{"n2"}, 60, 0},
			{"not where nobody is waited for", 2, nil, 60, 0},
		} {
			before := said
			for range tc.looks {
				begun := time.Now()
				r.waits(tc.index, tc.waiting, func(since time.Time) {
					if said++; begun.Sub(since) < rotationPatience {
						t.Errorf("%s: it is said after %v", tc.name, begun.Sub(since))
					}
				})
				time.Sleep(time.Second)
			}
			if got := said - before; got != tc.said {
				t.Errorf("%s: said %d times, want %d", tc.name, got, tc.said)
			}
		}
	})
}
