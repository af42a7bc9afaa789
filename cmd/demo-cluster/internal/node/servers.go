package node

import (
	"context"
	"net/http"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
)

// tokenTTLDefault is how long a join token is good for unless the request says.
const tokenTTLDefault = time.Minute

func (s *server) status(context.Context, *http.Request) (any, error) {
	return s.backend.Status(), nil
}

// createJoinToken answers with a token, bound to the server that the request
// names.
func (s *server) createJoinToken(ctx context.Context, r *http.Request) (any, error) {
	ttl, err := duration(r, "ttl", tokenTTLDefault)
	if err != nil {
		return nil, err
	}
	token, err := s.backend.CreateJoinTokenFor(ctx, r.URL.Query().Get("node"), ttl)
	return api.Token{Token: token}, err
}

func (s *server) removeServer(ctx context.Context, r *http.Request) (any, error) {
	return struct{}{}, s.backend.RemoveServer(ctx, r.PathValue("id"))
}

func (s *server) rotateAuthority(ctx context.Context, _ *http.Request) (any, error) {
	return struct{}{}, s.backend.RotateAuthority(ctx)
}
