package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/spire-raft/spire-raft/cache"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
	"github.com/spire-raft/spire-raft/datastore"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/store"
)

// write answers a write: fn does one operation on the DataStore, and returns the
// entry that it is about, if it is about one.
func (s *server) write(ctx context.Context, fn func(ctx context.Context) (entry *spirev1.RegistrationEntry, existing bool, err error)) (any, error) {
	ctx, committed := withCommit(ctx)
	entry, existing, err := fn(ctx)
	if err != nil {
		return nil, named(err)
	}
	return api.Written{Revision: committed.revision, Existing: existing, Entry: entry}, nil
}

func (s *server) createEntry(ctx context.Context, r *http.Request) (any, error) {
	var req api.EntryRequest
	if err := readJSON(r, &req); err != nil {
		return nil, err
	}
	return s.write(ctx, func(ctx context.Context) (*spirev1.RegistrationEntry, bool, error) {
		return s.data.CreateOrReturnRegistrationEntry(ctx, req.Entry)
	})
}

func (s *server) updateEntry(ctx context.Context, r *http.Request) (any, error) {
	var req api.EntryUpdate
	if err := readJSON(r, &req); err != nil {
		return nil, err
	}
	e := &spirev1.RegistrationEntry{EntryId: r.PathValue("id"), Hint: req.Hint}
	return s.write(ctx, func(ctx context.Context) (*spirev1.RegistrationEntry, bool, error) {
		updated, err := s.data.UpdateRegistrationEntry(ctx, e, &spirev1.RegistrationEntryMask{Hint: true})
		return updated, false, err
	})
}

func (s *server) deleteEntry(ctx context.Context, r *http.Request) (any, error) {
	return s.write(ctx, func(ctx context.Context) (*spirev1.RegistrationEntry, bool, error) {
		deleted, err := s.data.DeleteRegistrationEntry(ctx, r.PathValue("id"))
		return deleted, false, err
	})
}

func (s *server) createBundle(ctx context.Context, r *http.Request) (any, error) {
	var req api.BundleRequest
	if err := readJSON(r, &req); err != nil {
		return nil, err
	}
	return s.write(ctx, func(ctx context.Context) (*spirev1.RegistrationEntry, bool, error) {
		_, err := s.data.CreateBundle(ctx, req.Bundle)
		return nil, false, err
	})
}

func (s *server) createAgent(ctx context.Context, r *http.Request) (any, error) {
	var req api.AgentRequest
	if err := readJSON(r, &req); err != nil {
		return nil, err
	}
	return s.write(ctx, func(ctx context.Context) (*spirev1.RegistrationEntry, bool, error) {
		_, err := s.data.CreateAttestedNode(ctx, req.Agent)
		return nil, false, err
	})
}

func (s *server) setSelectors(ctx context.Context, r *http.Request) (any, error) {
	var req api.SelectorsRequest
	if err := readJSON(r, &req); err != nil {
		return nil, err
	}
	return s.write(ctx, func(ctx context.Context) (*spirev1.RegistrationEntry, bool, error) {
		return nil, false, s.data.SetNodeSelectors(ctx, req.Agent, req.Selectors)
	})
}

func (s *server) fetchEntry(ctx context.Context, r *http.Request) (any, error) {
	id := r.PathValue("id")
	e, err := s.data.FetchRegistrationEntry(ctx, id)
	if err == nil && e == nil {
		err = fmt.Errorf("%w: entry %q", api.ErrNotFound, id)
	}
	return e, named(err)
}

// listEntries returns entries in the order of their creation.
func (s *server) listEntries(ctx context.Context, r *http.Request) (any, error) {
	data, c, err := s.reader(r)
	if err != nil {
		return nil, err
	}
	limit, err := listLimit(r)
	if err != nil {
		return nil, err
	}
	query := r.URL.Query()
	list, err := data.ListRegistrationEntries(ctx, &datastore.ListRegistrationEntriesRequest{
		DataConsistency: c,
		BySpiffeID:      query.Get("spiffe_id"),
		ByParentID:      query.Get("parent_id"),
		ByHint:          query.Get("hint"),
		Pagination:      &datastore.Pagination{PageSize: int32(limit)},
	})
	if err != nil {
		return nil, named(err)
	}
	return api.Entries{Entries: list.Entries}, nil
}

func (s *server) countEntries(ctx context.Context, r *http.Request) (any, error) {
	data, c, err := s.reader(r)
	if err != nil {
		return nil, err
	}
	n, err := data.CountRegistrationEntries(ctx, &datastore.CountRegistrationEntriesRequest{DataConsistency: c})
	return api.Count{Count: int(n)}, named(err)
}

// authorized answers an agent from the cache alone, as SPIRE does: whether there
// is such an agent, and which entries it may have.
func (s *server) authorized(ctx context.Context, r *http.Request) (any, error) {
	name := r.URL.Query().Get("agent")
	id, err := spiffeid.FromString(name)
	if err != nil {
		return nil, fmt.Errorf("%w: agent %q: %w", store.ErrInvalid, name, err)
	}
	view, err := s.cache.View(ctx, store.AtLeast(0))
	if err != nil {
		return nil, err
	}
	node, err := view.Node(name)
	switch {
	case err != nil:
		return nil, err
	case node == nil:
		return nil, fmt.Errorf("%w: agent %q", api.ErrNotFound, name)
	case node.Banned():
		return nil, fmt.Errorf("%w: %q", api.ErrBanned, name)
	}
	out := api.Authorized{Revision: view.Revision(), Entries: []api.AuthorizedEntry{}}
	view.VisitAuthorized(id, func(e *spirev1.RegistrationEntry) bool {
		out.Entries = append(out.Entries, api.AuthorizedEntry{ID: e.EntryId, Revision: e.RevisionNumber, CreatedAt: e.CreatedAt})
		return true
	})
	return out, nil
}

// reader returns a DataStore, and how to ask it for data as fresh as a request
// wants them. How old data may be is set for a whole DataStore: a request that
// says so has one of its own.
func (s *server) reader(r *http.Request) (*datastore.DataStore, datastore.DataConsistency, error) {
	c, err := consistency(r)
	if err != nil {
		return nil, 0, err
	}
	if _, ok := c.MinRevision(); ok {
		return nil, 0, fmt.Errorf("%w: SPIRE's DataStore knows no revisions: use linearizable or stale:10s", store.ErrInvalid)
	}
	age, stale := c.MaxAge()
	if !stale {
		return s.data, datastore.RequireCurrent, nil
	}
	data, err := newDataStore(s.backend, s.cache, max(age, time.Nanosecond))
	return data, datastore.TolerateStale, err
}

// named gives an error of the DataStore the name that it has in this API. The
// store's errors have theirs already.
func named(err error) error {
	if err == nil || api.NewError(err).Name != api.InternalError {
		return err
	}
	switch code := status.Code(err); code {
	case codes.AlreadyExists:
		return fmt.Errorf("%w: %w", api.ErrExists, err)
	case codes.NotFound:
		return fmt.Errorf("%w: %w", api.ErrNotFound, err)
	case codes.InvalidArgument:
		return fmt.Errorf("%w: %w", store.ErrInvalid, err)
	}
	return err
}

func consistency(r *http.Request) (store.Consistency, error) {
	return api.ParseConsistency(r.URL.Query().Get("consistency"))
}

func listLimit(r *http.Request) (int, error) {
	s := r.URL.Query().Get("limit")
	if s == "" {
		return pageLimit, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > listLimitMax {
		return 0, fmt.Errorf("%w: limit=%q: use a number from 1 to %d", store.ErrInvalid, s, listLimitMax)
	}
	return n, nil
}

// commit is what is known of the transaction that a request committed.
type commit struct{ revision store.Revision }

type commitKey struct{}

// withCommit returns a context for a request to the DataStore, and where the
// last transaction of the request will be noted. The DataStore doesn't say at
// which revision it wrote, and the checks of the demo want to know.
func withCommit(ctx context.Context) (context.Context, *commit) {
	c := &commit{}
	return context.WithValue(ctx, commitKey{}, c), c
}

// noting is a store that notes commits.
type noting struct{ store.Store }

func (n noting) Begin(ctx context.Context, opts store.TxOptions) (store.Tx, error) {
	tx, err := n.Store.Begin(ctx, opts)
	if c, ok := ctx.Value(commitKey{}).(*commit); ok && err == nil {
		return notingTx{tx, c}, nil
	}
	return tx, err
}

type notingTx struct {
	store.Tx
	commit *commit
}

func (t notingTx) Commit(ctx context.Context) (store.Result, error) {
	res, err := t.Tx.Commit(ctx)
	if err == nil {
		t.commit.revision = res.Revision
	}
	return res, err
}

// newDataStore returns a DataStore on s that reads through c, a cache of s.
func newDataStore(s store.Store, c *cache.Cache, staleMax time.Duration) (*datastore.DataStore, error) {
	data, err := datastore.New(noting{s}, datastore.Config{StaleMax: staleMax, Cache: c})
	if err != nil {
		return nil, errors.Join(store.ErrInvalid, err)
	}
	return data, nil
}
