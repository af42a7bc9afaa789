package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/store"
)

// answerGrace is how much longer the client waits than the server does, so that
// the answer to a request that timed out still arrives.
const answerGrace = time.Second

// ErrNotSent: no connection to the server came about, so it never saw the
// request.
var ErrNotSent = errors.New("server can't be reached")

// Client talks to one server. Its methods may be called concurrently.
type Client struct {
	base       string
	token      string
	http       *http.Client
	operations *atomic.Int64
}

// New returns a client of the server at address. It holds connections until
// Close, and adds to operations how many operations on SPIRE's DataStore the
// server has done for it.
func New(address, token string, operations *atomic.Int64) *Client {
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		MaxIdleConnsPerHost: 512,
		DisableCompression:  true,
	}
	return &Client{base: "http://" + address, token: token, http: &http.Client{Transport: transport}, operations: operations}
}

// Close releases idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// CreateEntry creates a registration entry. See [Outcome] for what an error
// means.
func (c *Client) CreateEntry(ctx context.Context, e *spirev1.RegistrationEntry, timeout time.Duration) (api.Written, error) {
	return operate[api.Written](ctx, c, http.MethodPost, "/v1/entries", nil, api.EntryRequest{Entry: e}, timeout)
}

// UpdateEntry changes an entry.
func (c *Client) UpdateEntry(ctx context.Context, id string, update api.EntryUpdate, timeout time.Duration) (api.Written, error) {
	return operate[api.Written](ctx, c, http.MethodPatch, entryPath(id), nil, update, timeout)
}

// DeleteEntry deletes an entry.
func (c *Client) DeleteEntry(ctx context.Context, id string, timeout time.Duration) (api.Written, error) {
	return operate[api.Written](ctx, c, http.MethodDelete, entryPath(id), nil, nil, timeout)
}

// FetchEntry returns an entry.
func (c *Client) FetchEntry(ctx context.Context, id string, timeout time.Duration) (*spirev1.RegistrationEntry, error) {
	return operate[*spirev1.RegistrationEntry](ctx, c, http.MethodGet, entryPath(id), nil, nil, timeout)
}

// ListEntries returns the entries that pass a filter, in the order of their
// creation.
func (c *Client) ListEntries(ctx context.Context, f api.EntryFilter, cons store.Consistency, timeout time.Duration) ([]*spirev1.RegistrationEntry, error) {
	query := consistency(cons)
	for name, value := range map[string]string{"spiffe_id": f.SpiffeID, "parent_id": f.ParentID, "hint": f.Hint} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if f.Limit > 0 {
		query.Set("limit", strconv.Itoa(f.Limit))
	}
	list, err := operate[api.Entries](ctx, c, http.MethodGet, "/v1/entries", query, nil, timeout)
	return list.Entries, err
}

// CountEntries returns how many entries there are.
func (c *Client) CountEntries(ctx context.Context, cons store.Consistency, timeout time.Duration) (int, error) {
	count, err := operate[api.Count](ctx, c, http.MethodGet, "/v1/count/entries", consistency(cons), nil, timeout)
	return count.Count, err
}

// CreateBundle creates a bundle.
func (c *Client) CreateBundle(ctx context.Context, b *spirev1.Bundle, timeout time.Duration) (api.Written, error) {
	return operate[api.Written](ctx, c, http.MethodPost, "/v1/bundles", nil, api.BundleRequest{Bundle: b}, timeout)
}

// CreateAgent creates an attested node.
func (c *Client) CreateAgent(ctx context.Context, n *spirev1.AttestedNode, timeout time.Duration) (api.Written, error) {
	return operate[api.Written](ctx, c, http.MethodPost, "/v1/agents", nil, api.AgentRequest{Agent: n}, timeout)
}

// SetSelectors replaces the selectors of an agent.
func (c *Client) SetSelectors(ctx context.Context, agent string, selectors []*spirev1.Selector, timeout time.Duration) (api.Written, error) {
	req := api.SelectorsRequest{Agent: agent, Selectors: selectors}
	return operate[api.Written](ctx, c, http.MethodPut, "/v1/selectors", nil, req, timeout)
}

// Authorized returns what the agent with the given SPIFFE ID is told.
func (c *Client) Authorized(ctx context.Context, agent string, timeout time.Duration) (api.Authorized, error) {
	return call[api.Authorized](ctx, c, http.MethodGet, "/v1/authorized", url.Values{"agent": {agent}}, nil, timeout)
}

// Status returns what the server says of itself.
func (c *Client) Status(ctx context.Context, timeout time.Duration) (api.Status, error) {
	return call[api.Status](ctx, c, http.MethodGet, "/v1/status", nil, nil, timeout)
}

// CreateJoinToken returns a token that admits the server with an id, or any one
// where that is empty.
func (c *Client) CreateJoinToken(ctx context.Context, node string, ttl, timeout time.Duration) (string, error) {
	query := url.Values{"node": {node}, "ttl": {ttl.String()}}
	token, err := call[api.Token](ctx, c, http.MethodPost, "/v1/join-tokens", query, nil, timeout)
	return token.Token, err
}

// RemoveServer takes a server out of the cluster for good. It may be asked
// again.
func (c *Client) RemoveServer(ctx context.Context, node string, timeout time.Duration) error {
	_, err := call[struct{}](ctx, c, http.MethodDelete, "/v1/servers/"+url.PathEscape(node), nil, nil, timeout)
	return err
}

// RotateAuthority begins to replace the cluster's own authority. It is
// [api.ErrRotating] where that is under way already.
func (c *Client) RotateAuthority(ctx context.Context, timeout time.Duration) error {
	_, err := call[struct{}](ctx, c, http.MethodPost, "/v1/rotation", nil, nil, timeout)
	return err
}

func entryPath(id string) string { return "/v1/entries/" + url.PathEscape(id) }

func consistency(c store.Consistency) url.Values {
	return url.Values{"consistency": {api.FormatConsistency(c)}}
}

// operate is call for what takes one operation on the DataStore.
func operate[T any](ctx context.Context, c *Client, method, path string, query url.Values, in any, timeout time.Duration) (T, error) {
	out, err := call[T](ctx, c, method, path, query, in, timeout)
	if err == nil {
		c.operations.Add(1)
	}
	return out, err
}

// call sends one request and reads its answer, both within timeout and
// [answerGrace].
func call[T any](ctx context.Context, c *Client, method, path string, query url.Values, in any, timeout time.Duration) (T, error) {
	var out T
	ctx, cancel := context.WithTimeout(ctx, timeout+answerGrace)
	defer cancel()
	if query == nil {
		query = url.Values{}
	}
	query.Set("timeout", timeout.String())
	resp, err := c.do(ctx, method, path, query, in)
	if err != nil {
		return out, err
	}
	defer drain(resp.Body)
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return out, fmt.Errorf("answer to %s %s: %w", method, path, err)
	}
	return out, nil
}

// do sends a request and returns the response if it is a success, which the
// caller closes, or the error that the server answered with.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, in any) (*http.Response, error) {
	var body io.Reader = http.NoBody
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNotSent, err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path+"?"+query.Encode(), body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	resp, err := c.http.Do(req)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" {
			return nil, fmt.Errorf("%w: %w", ErrNotSent, err)
		}
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer drain(resp.Body)
	e := &api.Error{}
	if err := json.NewDecoder(resp.Body).Decode(e); err != nil || e.Name == "" {
		return nil, fmt.Errorf("%s %s: unexpected answer %s", method, path, resp.Status)
	}
	return nil, e
}

// drain lets the connection be used again.
func drain(body io.ReadCloser) {
	_, _ = io.Copy(io.Discard, body)
	_ = body.Close()
}
