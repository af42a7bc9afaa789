package raftstore

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestLately(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lately[string]{pause: time.Minute, max: 2}
		want := func(when string, due map[string]bool) {
			t.Helper()
			for k, want := range due {
				if got := l.begin(k); got != want {
					t.Errorf("%s, %s is due: %v", when, k, got)
				}
			}
		}
		want("at first", map[string]bool{"a": true})
		want("at once", map[string]bool{"a": false, "b": true})
		want("where there is no more room", map[string]bool{"c": false})
		l.retry("a", time.Second)
		time.Sleep(time.Second)
		want("after a second", map[string]bool{"a": true})
		want("after a second", map[string]bool{"b": false, "c": false})
		time.Sleep(time.Minute - time.Second)
		want("after a minute", map[string]bool{"a": false, "b": true})
	})
}
