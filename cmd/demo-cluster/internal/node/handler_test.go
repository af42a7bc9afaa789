package node_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/client"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/node"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/memstore"
)

const (
	token   = "secret"
	timeout = 5 * time.Second
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// backend is a memstore as a server of a cluster of its own.
type backend struct{ store.Store }

func (backend) Status() api.Status {
	return api.Status{Node: "n1", Role: api.RoleLeader, Voters: []string{"n1"}}
}

func (backend) CreateJoinToken(_ context.Context, ttl time.Duration) (string, error) {
	return "admit for " + ttl.String(), nil
}

// serve serves a memstore until the test ends, and returns a client of it. stop
// ends the streams.
func serve(t *testing.T) (c *client.Client, base string, stop func()) {
	b := backend{memstore.New(memstore.Config{})}
	ctx, stop := context.WithCancel(t.Context())
	srv := httptest.NewServer(node.Handler(ctx, b, token, slog.New(slog.DiscardHandler)))
	c = client.New(srv.Listener.Addr().String(), token)
	t.Cleanup(func() {
		stop()
		c.Close()
		srv.Close()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return c, srv.URL, stop
}

func create(t *testing.T, c *client.Client, typ, id string, indexes ...api.Index) api.Written {
	t.Helper()
	w, err := c.Create(t.Context(), typ, id, api.CreateRequest{Value: api.Value{Write: id}, Indexes: indexes}, timeout)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestItems_CreateGetCount(t *testing.T) {
	c, _, _ := serve(t)
	const id = "a/b ?%\x00ü" // ids are any bytes that a URL can carry
	w := create(t, c, "note", id)
	got, err := c.Get(t.Context(), "note", id, store.AtLeast(w.Revision), timeout)
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != id || got.Value.Write != id || got.ModRevision != w.Revision {
		t.Errorf("got %+v after %+v", got, w)
	}
	create(t, c, "noted", "another type")
	if n, err := c.Count(t.Context(), "note", store.Linearizable(), timeout); err != nil || n.Count != 1 {
		t.Errorf("count %+v, %v", n, err)
	}
	if _, err := c.Get(t.Context(), "note", "b", store.Linearizable(), timeout); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("absent item: %v", err)
	}
	_, err = c.Create(t.Context(), "note", id, api.CreateRequest{}, timeout)
	if !errors.Is(err, api.ErrExists) {
		t.Errorf("second create: %v", err)
	}
}

func TestItems_ListByIndexIsInOrderOfCreation(t *testing.T) {
	c, _, _ := serve(t)
	red := api.Index{Field: "colour", Value: "red"}
	for _, id := range []string{"z", "a", "m"} {
		create(t, c, "note", id, red, api.Index{Field: "size", Value: "1"})
	}
	create(t, c, "note", "other", api.Index{Field: "colour", Value: "redder"})
	got, err := c.ListBy(t.Context(), "note", "colour", "red", 2, store.Linearizable(), timeout)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, it := range got.Items {
		ids = append(ids, it.ID)
	}
	if want := []string{"z", "a"}; !slices.Equal(ids, want) {
		t.Errorf("listed %q, want %q", ids, want)
	}
}

func TestCounters_ConcurrentIncrementsAllCount(t *testing.T) {
	c, _, _ := serve(t)
	const clients, each = 8, 10
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			for j := range each {
				if _, err := c.Increment(t.Context(), "hot", api.Value{Write: fmt.Sprint(i, j)}, timeout); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got, err := c.Get(t.Context(), "counter", "hot", store.Linearizable(), timeout)
	if err != nil || got.Value.N != clients*each {
		t.Errorf("counter is %d, %v; want %d", got.Value.N, err, clients*each)
	}
}

func TestWatch_ResumesBehindACursor(t *testing.T) {
	c, _, _ := serve(t)
	for i := range 5 {
		create(t, c, "note", fmt.Sprint(i), api.Index{Field: "f", Value: "v"})
	}
	enough := errors.New("enough")
	var revisions []store.Revision
	err := c.Watch(t.Context(), store.Cursor{Epoch: 1, Revision: 2}, func(b api.Batch) error {
		if len(b.Events) != 2 {
			t.Errorf("revision %d has %d events, want the item and its index", b.Cursor.Revision, len(b.Events))
		}
		if revisions = append(revisions, b.Cursor.Revision); len(revisions) == 3 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Fatal(err)
	}
	if want := []store.Revision{3, 4, 5}; !slices.Equal(revisions, want) {
		t.Errorf("revisions %d, want %d", revisions, want)
	}
}

func TestWatch_InWords(t *testing.T) {
	c, base, _ := serve(t)
	create(t, c, "note", "1", api.Index{Field: "colour", Value: "red"})
	create(t, c, "other", "1")
	req, err := http.NewRequestWithContext(t.Context(), "GET", base+"/v1/watch?words=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	line, err := bufio.NewReader(resp.Body).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	want := `{"cursor":{"epoch":1,"revision":1},"events":[` +
		`{"kind":"put","name":"note 1","text":"{\"write\":\"1\"}"},` +
		`{"kind":"put","name":"note with colour=red number 1","text":"1"}]}` + "\n"
	if line != want {
		t.Errorf("got  %swant %s", line, want)
	}
}

func TestWatch_EndsWithTheServer(t *testing.T) {
	c, _, stop := serve(t)
	create(t, c, "note", "1")
	ended := make(chan error, 1)
	begun := make(chan struct{}, 100)
	go func() {
		ended <- c.Watch(t.Context(), store.Cursor{}, func(api.Batch) error { begun <- struct{}{}; return nil })
	}()
	<-begun
	stop()
	if err := <-ended; err == nil || t.Context().Err() != nil {
		t.Errorf("watch ended with %v", err)
	}
}

func TestDump_HasEveryPairOfOneSnapshot(t *testing.T) {
	c, _, _ := serve(t)
	const items = 1200 // more than two pages
	for i := range items {
		create(t, c, "note", fmt.Sprint(i))
	}
	pairs, cursor, err := c.Dump(t.Context(), store.Linearizable())
	if err != nil {
		t.Fatal(err)
	}
	if len(pairs) != items || cursor.Revision != items {
		t.Errorf("%d pairs at %v, want %d", len(pairs), cursor, items)
	}
	if !slices.IsSortedFunc(pairs, func(a, b api.Pair) int { return strings.Compare(string(a.Key), string(b.Key)) }) {
		t.Error("pairs are not in key order")
	}
}

func TestHandler_RefusesBadRequests(t *testing.T) {
	_, base, _ := serve(t)
	big := `{"value":{"body":"` + strings.Repeat("x", 3<<20) + `"}}`
	for _, test := range []struct {
		name, method, path, body string
		want                     string
	}{
		{"an unknown consistency", "GET", "/v1/items/note/1?consistency=fresh", "", "invalid"},
		{"a malformed timeout", "GET", "/v1/items/note/1?timeout=soon", "", "invalid"},
		{"a timeout that is over", "GET", "/v1/items/note/1?timeout=-1s", "", "invalid"},
		{"a limit of nothing", "GET", "/v1/items/note?limit=0", "", "invalid"},
		{"a limit of everything", "GET", "/v1/items/note?limit=1000000", "", "invalid"},
		{"a malformed cursor", "GET", "/v1/watch?after=x", "", "invalid"},
		{"no body", "POST", "/v1/items/note/1", "", "invalid"},
		{"a malformed body", "POST", "/v1/items/note/1", "{", "invalid"},
		{"an unknown field", "POST", "/v1/items/note/1", `{"valeu":{}}`, "invalid"},
		{"a huge body", "POST", "/v1/items/note/1", big, "too_large"},
		{"a key over the limit", "GET", "/v1/items/note/" + strings.Repeat("k", store.KeyBytesMax), "", "too_large"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := request(t, test.method, base+test.path, test.body, "Bearer "+token)
			if got.Name != test.want {
				t.Errorf("answer %+v, want %s", got, test.want)
			}
		})
	}
}

func TestHandler_RefusesThoseWithoutTheToken(t *testing.T) {
	_, base, _ := serve(t)
	for _, auth := range []string{"", "Bearer", "Bearer secre", "Bearer secrets", "secret", "Basic secret"} {
		for _, path := range []string{"/v1/status", "/v1/watch", "/v1/dump", "/nowhere"} {
			if got := request(t, "GET", base+path, "", auth); got.Name != "unauthorized" {
				t.Errorf("%s with %q: %+v", path, auth, got)
			}
		}
	}
}

func TestHandler_StatusAndJoinToken(t *testing.T) {
	c, _, _ := serve(t)
	if got, err := c.Status(t.Context(), timeout); err != nil || got.Node != "n1" || got.Role != api.RoleLeader {
		t.Errorf("status %+v, %v", got, err)
	}
	if got, err := c.CreateJoinToken(t.Context(), time.Minute, timeout); err != nil || got != "admit for 1m0s" {
		t.Errorf("token %q, %v", got, err)
	}
}

// request returns the error that a request is answered with.
func request(t *testing.T, method, url, body, auth string) *api.Error {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", auth)
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	got := &api.Error{}
	if err := json.Unmarshal(data, got); err != nil {
		t.Fatalf("answer %s: %q", resp.Status, data)
	}
	if resp.StatusCode != got.HTTPStatus() {
		t.Errorf("%s has status %d", got.Name, resp.StatusCode)
	}
	return got
}
