package node

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/spire-raft/spire-raft/cache"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
	"github.com/spire-raft/spire-raft/datastore"
	"github.com/spire-raft/spire-raft/store"
)

// Limits of the client API.
const (
	requestBytesMax = 2 << 20
	timeoutDefault  = 5 * time.Second
	timeoutMax      = time.Minute
	pageLimit       = 500
	listLimitMax    = 10_000
)

// Backend is the replicated store as the client API needs it.
type Backend interface {
	store.Store

	// Status says how this server is, from what it knows itself.
	Status() api.Status

	// CreateJoinTokenFor returns a token that admits the server with an id, or
	// any one where that is empty.
	CreateJoinTokenFor(ctx context.Context, nodeID string, ttl time.Duration) (string, error)

	// RemoveServer takes a server out of the cluster for good. One that was
	// removed before is no error.
	RemoveServer(ctx context.Context, nodeID string) error

	// RotateAuthority begins to replace the cluster's own authority. It is
	// api.ErrRotating where that is under way already.
	RotateAuthority(ctx context.Context) error
}

// server answers the client API from a backend.
type server struct {
	stopping context.Context
	backend  Backend
	data     *datastore.DataStore // on backend, reads through cache
	cache    *cache.Cache         // of backend
	token    []byte
	log      *slog.Logger
}

// Handler serves the client API of backend, of which agents is a cache, to those
// who present token. Streams, which have no end of their own, end with stopping.
func Handler(stopping context.Context, backend Backend, agents *cache.Cache, token string, log *slog.Logger) (http.Handler, error) {
	data, err := newDataStore(backend, agents, 0)
	if err != nil {
		return nil, err
	}
	s := &server{stopping: stopping, backend: backend, data: data, cache: agents, token: []byte(token), log: log}
	mux := http.NewServeMux()
	for pattern, answer := range map[string]answerFunc{
		"POST /v1/entries":        s.createEntry,
		"GET /v1/entries":         s.listEntries,
		"GET /v1/entries/{id}":    s.fetchEntry,
		"PATCH /v1/entries/{id}":  s.updateEntry,
		"DELETE /v1/entries/{id}": s.deleteEntry,
		"GET /v1/count/entries":   s.countEntries,
		"POST /v1/bundles":        s.createBundle,
		"POST /v1/agents":         s.createAgent,
		"PUT /v1/selectors":       s.setSelectors,
		"GET /v1/authorized":      s.authorized,
		"GET /v1/status":          s.status,
		"POST /v1/join-tokens":    s.createJoinToken,
		"DELETE /v1/servers/{id}": s.removeServer,
		"POST /v1/rotation":       s.rotateAuthority,
	} {
		mux.Handle(pattern, s.answer(answer))
	}
	mux.Handle("GET /v1/watch", s.stream(s.watch))
	mux.Handle("GET /v1/dump", s.stream(s.dump))
	return s.authenticated(mux), nil
}

// authenticated lets only requests with the token through.
func (s *server) authenticated(next http.Handler) http.Handler {
	want := append([]byte("Bearer "), s.token...)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := []byte(r.Header.Get("Authorization"))
		if subtle.ConstantTimeCompare(got, want) != 1 {
			writeError(w, api.ErrUnauthorized)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, requestBytesMax)
		next.ServeHTTP(w, r)
	})
}

// answerFunc handles a request that has one answer.
type answerFunc func(ctx context.Context, r *http.Request) (any, error)

// answer runs fn under the timeout that the request asks for.
func (s *server) answer(fn answerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		timeout, err := duration(r, "timeout", timeoutDefault)
		if err != nil {
			writeError(w, err)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), min(timeout, timeoutMax))
		defer cancel()
		out, err := fn(ctx, r)
		if err != nil {
			s.log.Debug("request ended in an error", "method", r.Method, "path", r.URL.Path, "error", err)
			writeError(w, err)
			return
		}
		writeJSON(w, http.StatusOK, out)
	})
}

func writeError(w http.ResponseWriter, err error) {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		err = fmt.Errorf("%w: request body exceeds %d bytes", store.ErrTooLarge, tooLarge.Limit)
	}
	e := api.NewError(err)
	writeJSON(w, e.HTTPStatus(), e)
}

// writeJSON ignores write errors: the client that they concern is gone.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func readJSON(r *http.Request, v any) error {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return err
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w: the request body is empty, send a JSON object", store.ErrInvalid)
	case err != nil:
		return fmt.Errorf("%w: request body: %w", store.ErrInvalid, err)
	}
	return nil
}

// duration returns the query parameter name, or def where it is absent.
func duration(r *http.Request, name string, def time.Duration) (time.Duration, error) {
	s := r.URL.Query().Get(name)
	if s == "" {
		return def, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%w: %s=%q: use a duration such as 2s", store.ErrInvalid, name, s)
	}
	return d, nil
}
