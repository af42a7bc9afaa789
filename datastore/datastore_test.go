package datastore_test

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/spire-raft/spire-raft/datastore"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/memstore"
)

// open returns a DataStore on an empty store.
func open(t *testing.T) *datastore.DataStore {
	t.Helper()
	return openOn(t, newStore(t))
}

func newStore(t *testing.T) store.Store {
	t.Helper()
	s := memstore.New(memstore.Config{})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func openOn(t *testing.T, s store.Store) *datastore.DataStore {
	t.Helper()
	d, err := datastore.New(s, datastore.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// wantStatus fails unless err is a status with code and message.
func wantStatus(t *testing.T, err error, code codes.Code, message string) {
	t.Helper()
	got, ok := status.FromError(err)
	if err == nil || !ok || got.Code() != code || got.Message() != message {
		t.Errorf("got error %v, want %v %q", err, code, message)
	}
	if want := "rpc error: code = " + code.String() + " desc = " + message; err != nil && err.Error() != want {
		t.Errorf("got text %q, want %q", err, want)
	}
}

const notFound = "datastore-sql: record not found"

func TestNew_ChecksItsConfig(t *testing.T) {
	if _, err := datastore.New(nil, datastore.Config{}); err == nil {
		t.Error("takes no store")
	}
	if _, err := datastore.New(newStore(t), datastore.Config{StaleMax: -1}); err == nil {
		t.Error("takes a negative StaleMax")
	}
}

// Spec 2.0, validation precedes I/O.
func TestClose_TwiceAndThenCallsFailAfterValidation(t *testing.T) {
	ctx := context.Background()
	d := open(t)
	for range 2 {
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	_, err := d.FetchBundle(ctx, "spiffe://td")
	if !errors.Is(err, store.ErrClosed) {
		t.Errorf("fetch: %v", err)
	}
	if _, err := d.CreateBundle(ctx, &spirev1.Bundle{}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("create: %v", err)
	}
	_, err = d.ListBundles(ctx, &datastore.ListBundlesRequest{Pagination: &datastore.Pagination{}})
	wantStatus(t, err, codes.InvalidArgument, "cannot paginate with pagesize = 0")
}

// Spec 2.0, context.
func TestContext_StaysInTheError(t *testing.T) {
	d := open(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := d.FetchRegistrationEntryEvent(ctx, 1)
	if !errors.Is(err, context.Canceled) || status.Code(err) != codes.Unknown {
		t.Errorf("fetch: %v", err)
	}
	if err == nil || err.Error() != "datastore-sql: context canceled" {
		t.Errorf("fetch: %v", err)
	}
	if _, err := d.SetBundle(ctx, &spirev1.Bundle{}); !errors.Is(err, context.Canceled) {
		t.Errorf("set: %v", err)
	}
}

// commitFails is a store whose commits end in err.
type commitFails struct {
	store.Store
	err error
}

func (s commitFails) Begin(ctx context.Context, opts store.TxOptions) (store.Tx, error) {
	tx, err := s.Store.Begin(ctx, opts)
	return failingTx{tx, s.err}, err
}

type failingTx struct {
	store.Tx
	err error
}

func (tx failingTx) Commit(context.Context) (store.Result, error) { return store.Result{}, tx.err }

func TestUpdate_StoreErrorsStayInTheError(t *testing.T) {
	for _, want := range []error{store.ErrUnknownOutcome, store.ErrNoLeader, store.ErrTooLarge} {
		d := openOn(t, commitFails{newStore(t), want})
		_, err := d.CreateBundle(context.Background(), &spirev1.Bundle{})
		if !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
		wantStatus(t, err, codes.Unknown, "datastore-sql: "+want.Error())
	}
}
