package node

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
	"github.com/spire-raft/spire-raft/keys"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

// streamFunc answers with lines of JSON, one for each call of send, which
// reaches the client at once. It returns the error that ends the stream, if
// there is one.
type streamFunc func(r *http.Request, send func(any) error) error

func (s *server) stream(fn streamFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(s.stopping, cancel)()
		enc := json.NewEncoder(w)
		ctl := http.NewResponseController(w)
		started := false
		send := func(v any) error {
			if !started {
				started = true
				w.Header().Set("Content-Type", "application/x-ndjson")
			}
			if err := enc.Encode(v); err != nil {
				return err
			}
			return ctl.Flush()
		}
		err := fn(r.WithContext(ctx), send)
		switch {
		case err == nil || ctx.Err() != nil:
		case !started:
			writeError(w, err)
		default:
			_ = enc.Encode(api.StreamEnd{Failure: api.NewError(err)}) // the client may be gone
		}
	})
}

// watch sends the changes after a cursor until the client goes or the store
// ends it.
func (s *server) watch(r *http.Request, send func(any) error) error {
	query := r.URL.Query()
	after, err := api.ParseCursor(query.Get("after"))
	if err != nil {
		return err
	}
	var prefixes [][]byte
	if typ := query.Get("type"); typ != "" {
		prefixes = append(prefixes, keys.AppendItemPrefix(nil, typ))
	}
	w, err := s.backend.Watch(r.Context(), after, prefixes...)
	if err != nil {
		return err
	}
	defer func() { _ = w.Close() }()
	words := query.Get("words") != ""
	for {
		batch, err := w.Next(r.Context())
		if err != nil {
			return err
		}
		if err := send(wireBatch(batch, words)); err != nil {
			return err
		}
	}
}

func wireBatch(b store.Batch, words bool) api.Batch {
	out := api.Batch{Cursor: api.Cursor(b.Cursor), Events: make([]api.Event, len(b.Events))}
	for i, e := range b.Events {
		out.Events[i] = api.Event{Kind: e.Kind.String()}
		if words {
			out.Events[i].Name, out.Events[i].Text = keyName(e.Key), valueText(e)
		} else {
			out.Events[i].Key, out.Events[i].Value = e.Key, e.Value
		}
	}
	return out
}

// dump sends every pair, all from one snapshot. A line without pairs ends it,
// so that a broken stream can't pass for a short one.
func (s *server) dump(r *http.Request, send func(any) error) error {
	c, err := consistency(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), store.TxDurationMax)
	defer cancel()
	return store.View(ctx, s.backend, c, func(tx store.Tx) error {
		cursor, err := tx.Cursor(ctx)
		if err != nil {
			return err
		}
		rest := store.Range{}
		for {
			kvs, err := tx.Scan(ctx, rest, pageLimit)
			if err != nil {
				return err
			}
			page := api.Page{Cursor: api.Cursor(cursor), Pairs: make([]api.Pair, len(kvs))}
			for i, kv := range kvs {
				page.Pairs[i] = api.Pair(kv)
			}
			if err := send(page); err != nil || len(kvs) == 0 {
				return err
			}
			rest = rest.After(kvs[len(kvs)-1].Key)
		}
	})
}

// keyName is key in words, for readers.
func keyName(key []byte) string {
	if it, err := keys.ParseItem(key); err == nil {
		return fmt.Sprintf("%s %s", it.Type, it.ID)
	}
	ix, err := keys.ParseIndex(key)
	switch {
	case err != nil:
		return fmt.Sprintf("%q", key)
	case len(ix.Field) == 0:
		return fmt.Sprintf("%s number %d", ix.Type, ix.Sequence)
	}
	return fmt.Sprintf("%s with %s=%q number %d", ix.Type, ix.Field, ix.Value, ix.Sequence)
}

// valueText is the value of an event in words: an entry as JSON, the others as
// they are.
func valueText(e store.Event) string {
	if e.Kind == store.EventDelete {
		return ""
	}
	if item, err := records.Entries.DecodePair(e.Key, e.Value); err == nil {
		if text, err := json.Marshal(item.Object); err == nil {
			return string(text)
		}
	}
	return fmt.Sprintf("%q", e.Value)
}
