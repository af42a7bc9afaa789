package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
	"github.com/spire-raft/spire-raft/store"
)

// Watch calls fn with each batch after a cursor until the stream breaks, fn
// returns an error, or ctx ends. It always returns an error. The batch belongs
// to fn.
func (c *Client) Watch(ctx context.Context, after store.Cursor, fn func(api.Batch) error) error {
	resp, err := c.do(ctx, http.MethodGet, "/v1/watch", url.Values{"after": {after.String()}}, nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // not drained: the stream has no end
	dec := json.NewDecoder(resp.Body)
	for {
		var b api.Batch
		if err := dec.Decode(&b); err != nil {
			return fmt.Errorf("watch: %w", err)
		}
		if b.Failure != nil {
			return b.Failure
		}
		if err := fn(b); err != nil {
			return err
		}
	}
}

// Dump returns every pair of one snapshot, in key order, and the cursor of the
// snapshot.
func (c *Client) Dump(ctx context.Context, cons store.Consistency) ([]api.Pair, store.Cursor, error) {
	resp, err := c.do(ctx, http.MethodGet, "/v1/dump", consistency(cons), nil)
	if err != nil {
		return nil, store.Cursor{}, err
	}
	defer drain(resp.Body)
	dec := json.NewDecoder(resp.Body)
	var pairs []api.Pair
	for {
		var page api.Page
		if err := dec.Decode(&page); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, store.Cursor{}, fmt.Errorf("dump: %w", err)
		}
		if page.Failure != nil {
			return nil, store.Cursor{}, page.Failure
		}
		if len(page.Pairs) == 0 {
			return pairs, store.Cursor(page.Cursor), nil
		}
		pairs = append(pairs, page.Pairs...)
	}
}
