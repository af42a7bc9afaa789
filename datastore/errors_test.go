package datastore

import (
	"context"
	"errors"
	"fmt"
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

// The chunks that a transaction can't hold are halved, and what is committed
// before an error is returned with it.
func TestInChunks(t *testing.T) {
	d, closeStore := newDataStore(t)
	defer closeStore()
	all := make([]int, 2*pruneChunk+1)
	for i := range all {
		all[i] = i
	}
	sizes := map[int]int{}
	fn := func(most, bad int) func(store.Tx, []int) ([]int, error) {
		return func(_ store.Tx, chunk []int) ([]int, error) {
			if len(chunk) > most {
				return nil, fmt.Errorf("%w: %d", store.ErrTooLarge, len(chunk))
			}
			if chunk[len(chunk)-1] >= bad {
				return nil, errNotFound()
			}
			sizes[len(chunk)]++
			return chunk, nil
		}
	}
	done, err := inChunks(context.Background(), d, all, fn(300, len(all)))
	if err != nil || len(done) != len(all) || sizes[pruneChunk/4] != 8 || sizes[1] != 1 {
		t.Errorf("got %d of %d, %v, in sizes %v", len(done), len(all), err, sizes)
	}
	done, err = inChunks(context.Background(), d, all, fn(len(all), pruneChunk))
	if status.Code(err) != codes.NotFound || len(done) != pruneChunk {
		t.Errorf("with an error: got %d, %v", len(done), err)
	}
	done, err = inChunks(context.Background(), d, all, fn(0, len(all)))
	if !errors.Is(err, store.ErrTooLarge) || len(done) > 0 {
		t.Errorf("always too large: got %d, %v", len(done), err)
	}
}
