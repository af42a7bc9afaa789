package datastore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

func TestDuring_GivesACodeOnlyToWhatHasNone(t *testing.T) {
	disk := errors.New("disk")
	tests := []struct {
		err  error
		code codes.Code
		text string
	}{
		{disk, codes.Internal, "rpc error: code = Internal desc = writing: disk"},
		{errNotFound(), codes.NotFound, "rpc error: code = NotFound desc = datastore-sql: record not found"},
		{fmt.Errorf("get: %w", context.Canceled), codes.Unknown, "get: context canceled"},
		{context.DeadlineExceeded, codes.Unknown, "context deadline exceeded"},
		{records.ErrInvalid, codes.InvalidArgument, "rpc error: code = InvalidArgument desc = writing: object can't be encoded"},
	}
	for _, test := range tests {
		err := during(codes.Internal, "writing", test.err)
		if status.Code(err) != test.code || err.Error() != test.text {
			t.Errorf("%v: got %v, want %v %q", test.err, err, test.code, test.text)
		}
		if !errors.Is(err, test.err) {
			t.Errorf("%v is not in the chain of %v", test.err, err)
		}
	}
	if err := during(codes.Internal, "writing", nil); err != nil {
		t.Errorf("no error: got %v", err)
	}
}

// The chunks that a transaction can't hold are halved, what can't be decoded is
// left, and what is committed before an error is returned with it.
func TestPrune(t *testing.T) {
	d, closeStore := newDataStore(t)
	defer closeStore()
	all := make([]string, 2*pruneChunk+1)
	for i := range all {
		all[i] = fmt.Sprintf("%05d", i)
	}
	run := func(most int, fails func(i int) error) ([]string, error) {
		n, last := 0, store.Tx(nil)
		return prune(context.Background(), d, func(store.Tx, *MalformedRecordsError) ([]string, error) {
			return all, nil
		}, func(tx store.Tx, id string) (string, bool, error) {
			if tx != last {
				n, last = 0, tx
			}
			if n++; n > most {
				return "", false, fmt.Errorf("%w: %d", store.ErrTooLarge, n)
			}
			i, err := strconv.Atoi(id)
			if err == nil {
				err = fails(i)
			}
			return id, true, err
		})
	}
	never := func(int) error { return nil }
	if done, err := run(300, never); err != nil || !slices.Equal(done, all) {
		t.Errorf("got %d of %d, %v", len(done), len(all), err)
	}
	done, err := run(len(all), func(i int) error {
		if i == pruneChunk {
			return errNotFound()
		}
		return nil
	})
	if status.Code(err) != codes.NotFound || len(done) != pruneChunk {
		t.Errorf("with an error: got %d, %v", len(done), err)
	}
	if done, err = run(0, never); !errors.Is(err, store.ErrTooLarge) || len(done) > 0 {
		t.Errorf("always too large: got %d, %v", len(done), err)
	}
	done, err = run(300, func(i int) error {
		if i%100 == 0 {
			return records.Entries.Malformed(all[i], errors.New("damaged"))
		}
		return nil
	})
	bad, ok := errors.AsType[*MalformedRecordsError](err)
	if !ok || bad.Count != 21 || len(bad.Named) != malformedNamedMax || len(done) != len(all)-21 {
		t.Errorf("with 21 damaged: got %d of %d, %v", len(done), len(all), err)
	}
	if !strings.Contains(err.Error(), `"00700"`) || !strings.HasSuffix(err.Error(), "; and 13 more") || status.Code(err) != codes.Unknown {
		t.Errorf("the error is %v", err)
	}
}
