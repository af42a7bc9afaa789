package check_test

import (
	"slices"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/check"
)

func TestLatencies_CountOnlyWhatBeginsAndEndsWhileOpen(t *testing.T) {
	var l check.Latencies
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
	l.Add(at(1), at(2)) // never opened
	l.Open(at(10))
	l.Add(at(9), at(500)) // began before
	for i := 1; i <= 100; i++ {
		l.Add(at(10), at(10+i))
	}
	l.Shut()
	l.Add(at(11), at(900)) // ended after
	got := l.Percentiles(0.5, 0.99, 1)
	want := []time.Duration{51 * time.Millisecond, 100 * time.Millisecond, 100 * time.Millisecond}
	if !slices.Equal(got, want) {
		t.Errorf("percentiles %v, want %v", got, want)
	}
}

func TestLatencies_NoneIsZero(t *testing.T) {
	var l check.Latencies
	if got := l.Percentiles(0.5); got[0] != 0 {
		t.Errorf("got %v", got)
	}
}
