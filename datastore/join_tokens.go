package datastore

import (
	"context"
	"errors"
	"time"

	recordsv1 "github.com/spire-raft/spire-raft/proto/records/v1"
	"github.com/spire-raft/spire-raft/records"
	"github.com/spire-raft/spire-raft/store"
)

var joinTokens = collection[*recordsv1.JoinToken]{
	kind: records.JoinTokens, unique: "join_tokens.token",
	blank: func(id string, _ map[string]string) *recordsv1.JoinToken { return &recordsv1.JoinToken{Token: id} },
}

// CreateJoinToken stores a token, with its expiry rounded down to a second. The
// error is AlreadyExists if there is such a token.
func (d *DataStore) CreateJoinToken(ctx context.Context, token *JoinToken) error {
	if token == nil || token.Token == "" || token.Expiry.IsZero() {
		return errors.New("token and expiry are required")
	}
	_, err := update(ctx, d, func(tx store.Tx) (store.Sequence, error) {
		return joinTokens.create(ctx, tx, &recordsv1.JoinToken{Token: token.Token, Expiry: token.Expiry.Unix()})
	})
	return err
}

// FetchJoinToken returns a token, expired or not, or nil. Its expiry is in the
// location Local.
func (d *DataStore) FetchJoinToken(ctx context.Context, token string) (*JoinToken, error) {
	return view(ctx, d, store.Linearizable(), func(tx store.Tx) (*JoinToken, error) {
		item, ok, err := joinTokens.get(ctx, tx, token)
		if err != nil || !ok {
			return nil, err
		}
		return &JoinToken{Token: item.Object.Token, Expiry: time.Unix(item.Object.Expiry, 0)}, nil
	})
}

// DeleteJoinToken deletes a token. The error is NotFound if there is none: of
// those who delete a token at the same time one succeeds, so that a token lets
// in one agent.
func (d *DataStore) DeleteJoinToken(ctx context.Context, token string) error {
	_, err := updateWrecks(ctx, d, func(tx store.Tx, w wrecks) (struct{}, error) {
		old, err := joinTokens.mustFind(ctx, tx, token, w)
		if err != nil {
			return struct{}{}, err
		}
		return struct{}{}, old.delete(tx)
	})
	return err
}

// PruneJoinTokens deletes the tokens that expired before the second of
// expiresBefore. On error some of them may be deleted. Those that can't be decoded
// stay, and are in a [MalformedRecordsError] when all others are gone.
func (d *DataStore) PruneJoinTokens(ctx context.Context, expiresBefore time.Time) error {
	limit := expiresBefore.Unix()
	_, err := prune(ctx, d, func(tx store.Tx, bad *MalformedRecordsError) ([]string, error) {
		return joinTokens.ids(ctx, tx, bad, joinTokens.expiresBefore(limit))
	}, func(tx store.Tx, id string) (struct{}, bool, error) {
		item, ok, err := joinTokens.get(ctx, tx, id)
		if err == nil && ok && item.Object.Expiry < limit {
			err = joinTokens.delete(tx, item)
		}
		return struct{}{}, false, err
	})
	return err
}
