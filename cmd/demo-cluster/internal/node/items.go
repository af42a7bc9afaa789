package node

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
	"github.com/spire-raft/spire-raft/keys"
	"github.com/spire-raft/spire-raft/store"
)

// counterType is the type of the items that increments change.
const counterType = "counter"

// createItem stores an item and all its indexes in one transaction. The
// indexes end in the item's number, which is its place in the order of
// creation of its type.
func (s *server) createItem(ctx context.Context, r *http.Request) (any, error) {
	var req api.CreateRequest
	if err := readJSON(r, &req); err != nil {
		return nil, err
	}
	value, err := json.Marshal(req.Value)
	if err != nil {
		return nil, err
	}
	typ, id := r.PathValue("type"), r.PathValue("id")
	res, err := store.Update(ctx, s.backend, func(tx store.Tx) error {
		return create(ctx, tx, typ, id, value, req.Indexes)
	})
	if err != nil {
		return nil, err
	}
	return api.Written{Revision: res.Revision}, nil
}

func create(ctx context.Context, tx store.Tx, typ, id string, value []byte, indexes []api.Index) error {
	key := keys.AppendItem(nil, typ, id)
	_, found, err := tx.Get(ctx, key)
	if err != nil {
		return err
	}
	if found {
		return fmt.Errorf("%w: %s %q", api.ErrExists, typ, id)
	}
	if err := tx.Put(key, value); err != nil || len(indexes) == 0 {
		return err
	}
	number, err := tx.Sequence(keys.AppendCounter(nil, typ))
	if err != nil {
		return err
	}
	for _, ix := range indexes {
		key, offset := keys.AppendIndexUnnumbered(nil, typ, ix.Field, ix.Value)
		patch := store.Patch{Sequence: number, Target: store.PatchKey, Offset: offset}
		if err := tx.Put(key, []byte(id), patch); err != nil {
			return err
		}
	}
	return nil
}

// increment adds one to a counter by reading and writing it. Only conflict
// detection keeps concurrent increments from getting lost.
func (s *server) increment(ctx context.Context, r *http.Request) (any, error) {
	var req api.Value
	if err := readJSON(r, &req); err != nil {
		return nil, err
	}
	key := keys.AppendItem(nil, counterType, r.PathValue("id"))
	var value api.Value
	res, err := store.Update(ctx, s.backend, func(tx store.Tx) error {
		kv, found, err := tx.Get(ctx, key)
		if err != nil {
			return err
		}
		var old api.Value
		if found {
			if err := json.Unmarshal(kv.Value, &old); err != nil {
				return fmt.Errorf("%w: value of a counter: %w", store.ErrCorrupt, err)
			}
		}
		value = req
		value.N = old.N + 1
		data, err := json.Marshal(value)
		if err != nil {
			return err
		}
		return tx.Put(key, data)
	})
	if err != nil {
		return nil, err
	}
	return api.Written{Revision: res.Revision, N: value.N}, nil
}

func (s *server) getItem(ctx context.Context, r *http.Request) (any, error) {
	c, err := consistency(r)
	if err != nil {
		return nil, err
	}
	typ, id := r.PathValue("type"), r.PathValue("id")
	kvs, _, err := s.backend.Get(ctx, c, store.Key(keys.AppendItem(nil, typ, id)))
	if err != nil {
		return nil, err
	}
	if len(kvs) == 0 {
		return nil, fmt.Errorf("%w: %s %q", api.ErrNotFound, typ, id)
	}
	return item(typ, id, kvs[0])
}

// listItems returns the items of a type by id or, where a field and its value
// are given, those that have it, in the order of their creation.
func (s *server) listItems(ctx context.Context, r *http.Request) (any, error) {
	c, err := consistency(r)
	if err != nil {
		return nil, err
	}
	limit, err := listLimit(r)
	if err != nil {
		return nil, err
	}
	typ, field, value := r.PathValue("type"), r.URL.Query().Get("field"), r.URL.Query().Get("value")
	out := api.Items{Items: []api.Item{}}
	err = store.View(ctx, s.backend, c, func(tx store.Tx) error {
		cursor, err := tx.Cursor(ctx)
		if err != nil {
			return err
		}
		out.Revision = cursor.Revision
		if field == "" {
			return listByID(ctx, tx, typ, limit, &out)
		}
		return listByIndex(ctx, tx, typ, field, value, limit, &out)
	})
	return out, err
}

func listByID(ctx context.Context, tx store.Tx, typ string, limit int, out *api.Items) error {
	kvs, err := tx.Scan(ctx, store.Prefix(keys.AppendItemPrefix(nil, typ)), limit)
	if err != nil {
		return err
	}
	for _, kv := range kvs {
		key, err := keys.ParseItem(kv.Key)
		if err != nil {
			return err
		}
		it, err := item(typ, string(key.ID), kv)
		if err != nil {
			return err
		}
		out.Items = append(out.Items, it)
	}
	return nil
}

func listByIndex(ctx context.Context, tx store.Tx, typ, field, value string, limit int, out *api.Items) error {
	refs, err := tx.Scan(ctx, store.Prefix(keys.AppendValuePrefix(nil, typ, field, value)), limit)
	if err != nil {
		return err
	}
	for _, ref := range refs {
		kv, found, err := tx.Get(ctx, keys.AppendItem(nil, typ, ref.Value))
		if err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("%w: index entry without its item", store.ErrCorrupt)
		}
		it, err := item(typ, string(ref.Value), kv)
		if err != nil {
			return err
		}
		out.Items = append(out.Items, it)
	}
	return nil
}

func (s *server) countItems(ctx context.Context, r *http.Request) (any, error) {
	c, err := consistency(r)
	if err != nil {
		return nil, err
	}
	prefix := keys.AppendItemPrefix(nil, r.PathValue("type"))
	n, rev, err := s.backend.Count(ctx, c, store.Prefix(prefix))
	return api.Count{Count: n, Revision: rev}, err
}

func (s *server) status(context.Context, *http.Request) (any, error) {
	return s.backend.Status(), nil
}

func (s *server) createJoinToken(ctx context.Context, r *http.Request) (any, error) {
	ttl, err := duration(r, "ttl", timeoutMax)
	if err != nil {
		return nil, err
	}
	token, err := s.backend.CreateJoinToken(ctx, ttl)
	return api.Token{Token: token}, err
}

func item(typ, id string, kv store.KeyValue) (api.Item, error) {
	it := api.Item{Type: typ, ID: id, ModRevision: kv.ModRevision}
	if err := json.Unmarshal(kv.Value, &it.Value); err != nil {
		return api.Item{}, fmt.Errorf("%w: value of %s %q: %w", store.ErrCorrupt, typ, id, err)
	}
	return it, nil
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
