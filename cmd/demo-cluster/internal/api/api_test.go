package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
	"github.com/spire-raft/spire-raft/store"
)

func TestError_IsTheSameErrorAcrossTheWire(t *testing.T) {
	for _, want := range []error{
		store.ErrConflict, store.ErrCompacted, store.ErrNoLeader, store.ErrUnknownOutcome, store.ErrStale,
		store.ErrNoSpace, store.ErrTooLarge, store.ErrInvalid, store.ErrReadOnly, store.ErrTxDone,
		store.ErrTxExpired, store.ErrTooManyWatchers, store.ErrCorrupt, store.ErrFailed, store.ErrClosed,
		api.ErrExists, api.ErrNotFound, api.ErrBanned, api.ErrUnauthorized, context.DeadlineExceeded, context.Canceled,
	} {
		sent := fmt.Errorf("more: %w", want)
		data, err := json.Marshal(api.NewError(sent))
		if err != nil {
			t.Fatal(err)
		}
		got := &api.Error{}
		if err := json.Unmarshal(data, got); err != nil {
			t.Fatal(err)
		}
		if !errors.Is(got, want) {
			t.Errorf("%v arrives as %v", want, got)
		}
		if got.Message != sent.Error() {
			t.Errorf("message %q, want %q", got.Message, sent)
		}
		if got.HTTPStatus() < 400 {
			t.Errorf("%v has status %d", want, got.HTTPStatus())
		}
	}
}

func TestNewError_TakesTheErrorThatACallerActsOn(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("%w: %w", store.ErrUnknownOutcome, context.DeadlineExceeded), "unknown_outcome"},
		{fmt.Errorf("%w: %w", store.ErrUnknownOutcome, store.ErrNoLeader), "unknown_outcome"},
		{fmt.Errorf("%w: %w: %w", store.ErrStale, store.ErrNoLeader, context.DeadlineExceeded), "stale"},
		{fmt.Errorf("%w: %w", store.ErrNoLeader, context.DeadlineExceeded), "no_leader"},
		{fmt.Errorf("%w: %w", store.ErrFailed, store.ErrCorrupt), "failed"},
		{&store.ConflictError{Revision: 3}, "conflict"},
		{&store.CompactedError{}, "compacted"},
		{errors.New("surprise"), "internal"},
	} {
		if got := api.NewError(test.err); got.Name != test.want {
			t.Errorf("%v is %q, want %q", test.err, got.Name, test.want)
		}
	}
}

func TestConsistency_RoundTrip(t *testing.T) {
	for _, c := range []store.Consistency{store.Linearizable(), store.AtLeast(0), store.AtLeast(17), store.BoundedStale(90 * time.Second)} {
		got, err := api.ParseConsistency(api.FormatConsistency(c))
		if err != nil || got != c {
			t.Errorf("%v becomes %v, %v", c, got, err)
		}
	}
}

func TestParse_RefusesWhatItDoesNotKnow(t *testing.T) {
	for _, s := range []string{"fresh", "stale", "stale:soon", "revision:-1", "revision:"} {
		if _, err := api.ParseConsistency(s); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("consistency %q: %v", s, err)
		}
	}
	for _, s := range []string{"17", "1/", "/1", "a/b", "1/2/3", "-1/1"} {
		if _, err := api.ParseCursor(s); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("cursor %q: %v", s, err)
		}
	}
}

func TestCursor_RoundTrip(t *testing.T) {
	for _, c := range []store.Cursor{{}, {Epoch: 2, Revision: 1<<64 - 1}} {
		if got, err := api.ParseCursor(c.String()); err != nil || got != c {
			t.Errorf("%v becomes %v, %v", c, got, err)
		}
	}
	if got, err := api.ParseCursor(""); err != nil || got != (store.Cursor{}) {
		t.Errorf("nothing becomes %v, %v", got, err)
	}
}
