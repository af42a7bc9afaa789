package check_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/check"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/client"
	"github.com/spire-raft/spire-raft/store"
)

func TestLedger_WaitAckTakesOnlyWritesThatBeganLater(t *testing.T) {
	l := check.NewLedger()
	start := time.Now()
	l.Begin("early", "n1")
	l.Begin("late", "n2")
	acked := make(chan error, 1)
	go func() {
		_, err := l.WaitAck(t.Context(), start)
		acked <- err
	}()
	l.End("early", start.Add(-time.Second), client.Acknowledged, 1)
	select {
	case <-acked:
		t.Fatal("a write that began before counts")
	default:
	}
	// The waiter may not have begun to wait: acknowledge until it has.
	for i := store.Revision(2); ; i++ {
		id := fmt.Sprint(i)
		l.Begin(id, "n2")
		l.End(id, start, client.Acknowledged, i)
		select {
		case err := <-acked:
			if err != nil {
				t.Fatal(err)
			}
			return
		default:
		}
	}
}

func TestLedger_CountsByOutcomeAndServer(t *testing.T) {
	l := check.NewLedger()
	for i, o := range []client.Outcome{client.Acknowledged, client.Failed, client.Ambiguous, client.Acknowledged} {
		id := fmt.Sprint(i)
		l.Begin(id, "n1")
		l.End(id, time.Now(), o, 0)
	}
	l.Begin("under way", "n2")
	if got, want := l.Counts(), (check.Counts{Acknowledged: 2, Failed: 1, Ambiguous: 2}); got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
	if n1, n2 := l.AcknowledgedVia("n1"), l.AcknowledgedVia("n2"); n1 != 2 || n2 != 0 {
		t.Errorf("acknowledged via n1 %d, n2 %d; want 2, 0", n1, n2)
	}
}
