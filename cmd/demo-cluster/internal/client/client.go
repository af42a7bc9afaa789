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
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
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
	base  string
	token string
	http  *http.Client
}

// New returns a client of the server at address. It holds connections until
// Close.
func New(address, token string) *Client {
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		MaxIdleConnsPerHost: 512,
		DisableCompression:  true,
	}
	return &Client{base: "http://" + address, token: token, http: &http.Client{Transport: transport}}
}

// Close releases idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Create stores a new item. See [Outcome] for what an error means.
func (c *Client) Create(ctx context.Context, typ, id string, req api.CreateRequest, timeout time.Duration) (api.Written, error) {
	return call[api.Written](ctx, c, http.MethodPost, itemPath(typ, id), nil, req, timeout)
}

// Increment adds one to a counter. See [Outcome] for what an error means.
func (c *Client) Increment(ctx context.Context, id string, value api.Value, timeout time.Duration) (api.Written, error) {
	return call[api.Written](ctx, c, http.MethodPost, "/v1/counters/"+url.PathEscape(id), nil, value, timeout)
}

// Get returns an item.
func (c *Client) Get(ctx context.Context, typ, id string, cons store.Consistency, timeout time.Duration) (api.Item, error) {
	return call[api.Item](ctx, c, http.MethodGet, itemPath(typ, id), consistency(cons), nil, timeout)
}

// ListBy returns the items that have value in a field, in the order of their
// creation, at most limit.
func (c *Client) ListBy(ctx context.Context, typ, field, value string, limit int, cons store.Consistency, timeout time.Duration) (api.Items, error) {
	query := consistency(cons)
	query.Set("field", field)
	query.Set("value", value)
	query.Set("limit", strconv.Itoa(limit))
	return call[api.Items](ctx, c, http.MethodGet, "/v1/items/"+url.PathEscape(typ), query, nil, timeout)
}

// Count returns how many items of a type there are.
func (c *Client) Count(ctx context.Context, typ string, cons store.Consistency, timeout time.Duration) (api.Count, error) {
	return call[api.Count](ctx, c, http.MethodGet, "/v1/count/"+url.PathEscape(typ), consistency(cons), nil, timeout)
}

// Status returns what the server says of itself.
func (c *Client) Status(ctx context.Context, timeout time.Duration) (api.Status, error) {
	return call[api.Status](ctx, c, http.MethodGet, "/v1/status", nil, nil, timeout)
}

// CreateJoinToken returns a token that admits one server.
func (c *Client) CreateJoinToken(ctx context.Context, ttl, timeout time.Duration) (string, error) {
	token, err := call[api.Token](ctx, c, http.MethodPost, "/v1/join-tokens", url.Values{"ttl": {ttl.String()}}, nil, timeout)
	return token.Token, err
}

func itemPath(typ, id string) string {
	return "/v1/items/" + url.PathEscape(typ) + "/" + url.PathEscape(id)
}

func consistency(c store.Consistency) url.Values {
	return url.Values{"consistency": {api.FormatConsistency(c)}}
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
