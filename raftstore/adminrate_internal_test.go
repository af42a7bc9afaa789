package raftstore

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A peer has a burst, then one call an interval, one at a time, and few that
// wait. None of that touches another peer.
func TestAdminLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l adminLimiter
		begun := time.Now()
		call := func(peer string) {
			t.Helper()
			end, err := l.begin(t.Context(), peer)
			if err != nil {
				t.Fatal(err)
			}
			end()
		}
		for range adminBurst {
			call("a")
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("the burst took %v", took)
		}
		for range 10 {
			call("a")
		}
		if took := time.Since(begun); took != 10*adminInterval {
			t.Errorf("10 more took %v", took)
		}

		end, err := l.begin(t.Context(), "a") // is being done, and the others wait
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		for range adminCallsMax - 1 {
			go func() {
				if _, err := l.begin(ctx, "a"); !errors.Is(err, context.Canceled) {
					t.Errorf("one that waits: %v", err)
				}
			}()
		}
		synctest.Wait()
		if _, err := l.begin(t.Context(), "a"); !errors.Is(err, errTooManyCalls) {
			t.Errorf("one more: %v", err)
		}
		begun = time.Now()
		call("b")
		if took := time.Since(begun); took != 0 {
			t.Errorf("another peer waited %v", took)
		}
		cancel()
		synctest.Wait()
		end()
		time.Sleep(adminBurst * adminInterval)
		begun = time.Now()
		for range adminBurst {
			call("a")
		}
		call("c")
		if took := time.Since(begun); took != 0 || len(l.peers) != 2 {
			t.Errorf("the burst took %v after a rest; %d peers are remembered, want a and c", took, len(l.peers))
		}
	})
}
