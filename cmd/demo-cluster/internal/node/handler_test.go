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
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/spire-raft/spire-raft/cache"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/client"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/node"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
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

func (backend) CreateJoinTokenFor(_ context.Context, node string, ttl time.Duration) (string, error) {
	return "admit " + node + " for " + ttl.String(), nil
}

func (backend) RemoveServer(_ context.Context, node string) error {
	if node != "n2" {
		return fmt.Errorf("%w: no server %s", store.ErrInvalid, node)
	}
	return nil
}

func (backend) RotateAuthority(context.Context) error {
	return fmt.Errorf("%w: it waits for n2", api.ErrRotating)
}

// serve serves a memstore until the test ends, and returns a client of it. stop
// ends the streams.
func serve(t *testing.T) (c *client.Client, base string, stop func()) {
	b := backend{memstore.New(memstore.Config{})}
	ctx, stop := context.WithCancel(t.Context())
	agents, err := cache.Open(ctx, b, cache.Config{TrustDomain: spiffeid.RequireTrustDomainFromString("a")})
	if err != nil {
		t.Fatal(err)
	}
	handler, err := node.Handler(ctx, b, agents, token, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(handler)
	c = client.New(srv.Listener.Addr().String(), token, new(atomic.Int64))
	t.Cleanup(func() {
		stop()
		c.Close()
		srv.Close()
		if err := errors.Join(agents.Close(), b.Close()); err != nil {
			t.Error(err)
		}
	})
	return c, srv.URL, stop
}

// entry returns one below the agent or alias with the path parent.
func entry(id, parent string) *spirev1.RegistrationEntry {
	return &spirev1.RegistrationEntry{
		EntryId: id, SpiffeId: "spiffe://a/" + id, ParentId: "spiffe://a" + parent,
		Selectors: []*spirev1.Selector{{Type: "unix", Value: "user:" + id}},
	}
}

func create(t *testing.T, c *client.Client, e *spirev1.RegistrationEntry) api.Written {
	t.Helper()
	w, err := c.CreateEntry(t.Context(), e, timeout)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestEntries_CreateFetchUpdateDelete(t *testing.T) {
	c, _, _ := serve(t)
	made := create(t, c, entry("e1", "/p"))
	if made.Existing || made.Revision != 1 || made.Entry.EntryId != "e1" || made.Entry.CreatedAt == 0 {
		t.Errorf("created %+v", made)
	}
	updated, err := c.UpdateEntry(t.Context(), "e1", api.EntryUpdate{Hint: "h"}, timeout)
	if err != nil || updated.Revision != 2 || updated.Entry.Hint != "h" || updated.Entry.RevisionNumber != 1 {
		t.Errorf("updated %+v, %v", updated, err)
	}
	got, err := c.FetchEntry(t.Context(), "e1", timeout)
	if err != nil || !proto.Equal(got, updated.Entry) {
		t.Errorf("fetched %v, %v; want %v", got, err, updated.Entry)
	}
	if n, err := c.CountEntries(t.Context(), store.BoundedStale(time.Minute), timeout); err != nil || n != 1 {
		t.Errorf("count %d, %v", n, err)
	}
	deleted, err := c.DeleteEntry(t.Context(), "e1", timeout)
	if err != nil || deleted.Revision != 3 || !proto.Equal(deleted.Entry, got) {
		t.Errorf("deleted %+v, %v", deleted, err)
	}
	if _, err := c.FetchEntry(t.Context(), "e1", timeout); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("absent entry: %v", err)
	}
}

func TestEntries_ErrorsOfTheDataStoreHaveNames(t *testing.T) {
	c, _, _ := serve(t)
	create(t, c, entry("e1", "/p"))
	similar := entry("e1", "/p")
	similar.EntryId = "e2"
	if w := create(t, c, similar); !w.Existing || w.Entry.EntryId != "e1" {
		t.Errorf("a similar entry: %+v", w)
	}
	for _, test := range []struct {
		name string
		do   func() error
		want error
	}{
		{"an id that is taken", func() error { _, err := c.CreateEntry(t.Context(), entry("e1", "/q"), timeout); return err }, api.ErrExists},
		{"an entry without selectors", func() error {
			_, err := c.CreateEntry(t.Context(), &spirev1.RegistrationEntry{SpiffeId: "spiffe://a/x"}, timeout)
			return err
		}, store.ErrInvalid},
		{"no entry", func() error { _, err := c.CreateEntry(t.Context(), nil, timeout); return err }, store.ErrInvalid},
		{"an update of nothing", func() error { _, err := c.UpdateEntry(t.Context(), "x", api.EntryUpdate{}, timeout); return err }, api.ErrNotFound},
		{"a deletion of nothing", func() error { _, err := c.DeleteEntry(t.Context(), "x", timeout); return err }, api.ErrNotFound},
		{"a read at a revision", func() error { _, err := c.CountEntries(t.Context(), store.AtLeast(1), timeout); return err }, store.ErrInvalid},
	} {
		if err := test.do(); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
}

func TestEntries_ListIsInOrderOfCreation(t *testing.T) {
	c, _, _ := serve(t)
	for _, id := range []string{"z", "a", "m"} {
		create(t, c, entry(id, "/p"))
	}
	create(t, c, entry("other", "/pp"))
	got, err := c.ListEntries(t.Context(), api.EntryFilter{ParentID: "spiffe://a/p", Limit: 2}, store.Linearizable(), timeout)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, e := range got {
		ids = append(ids, e.EntryId)
	}
	if want := []string{"z", "a"}; !slices.Equal(ids, want) {
		t.Errorf("listed %q, want %q", ids, want)
	}
}

func TestEntries_ConcurrentUpdatesAllCount(t *testing.T) {
	c, _, _ := serve(t)
	create(t, c, entry("hot", "/p"))
	const clients, each = 8, 10
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			for j := range each {
				if _, err := c.UpdateEntry(t.Context(), "hot", api.EntryUpdate{Hint: fmt.Sprint(i, j)}, timeout); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got, err := c.FetchEntry(t.Context(), "hot", timeout)
	if err != nil || got.RevisionNumber != clients*each {
		t.Errorf("entry at its revision %d, %v; want %d", got.GetRevisionNumber(), err, clients*each)
	}
}

func TestAuthorized_AgentIsGivenItsEntries(t *testing.T) {
	c, _, _ := serve(t)
	const agent = "spiffe://a/spire/agent/x"
	if _, err := c.Authorized(t.Context(), agent, timeout); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("unknown agent: %v", err)
	}
	region := []*spirev1.Selector{{Type: "region", Value: "north"}}
	if _, err := c.SetSelectors(t.Context(), agent, region, timeout); err != nil {
		t.Fatal(err)
	}
	attested := &spirev1.AttestedNode{SpiffeId: agent, CertSerialNumber: "1", CertNotAfter: time.Now().Add(time.Hour).Unix()}
	if _, err := c.CreateAgent(t.Context(), attested, timeout); err != nil {
		t.Fatal(err)
	}
	alias := entry("north", "/spire/server")
	alias.Selectors = region
	create(t, c, alias)
	create(t, c, entry("own", "/spire/agent/x"))
	create(t, c, entry("other", "/south"))
	last := create(t, c, entry("shared", "/north"))
	got := awaitAnswer(t, c, agent, last.Revision)
	var ids []string
	for _, e := range got.Entries {
		ids = append(ids, e.ID)
	}
	slices.Sort(ids)
	if want := []string{"own", "shared"}; !slices.Equal(ids, want) {
		t.Errorf("given %q, want %q", ids, want)
	}

	banned := &spirev1.AttestedNode{SpiffeId: agent + "/banned"}
	w, err := c.CreateAgent(t.Context(), banned, timeout)
	if err != nil {
		t.Fatal(err)
	}
	awaitAnswer(t, c, agent, w.Revision)
	if _, err := c.Authorized(t.Context(), banned.SpiffeId, timeout); !errors.Is(err, api.ErrBanned) {
		t.Errorf("banned agent: %v", err)
	}
}

// awaitAnswer waits until the server's cache is at a revision.
func awaitAnswer(t *testing.T, c *client.Client, agent string, rev store.Revision) api.Authorized {
	t.Helper()
	for t.Context().Err() == nil {
		got, err := c.Authorized(t.Context(), agent, timeout)
		if err != nil && !errors.Is(err, api.ErrNotFound) { // the cache may not know it yet
			t.Fatal(err)
		}
		if got.Revision >= rev {
			return got
		}
	}
	return api.Authorized{}
}

func TestBundles_Create(t *testing.T) {
	c, _, _ := serve(t)
	b := &spirev1.Bundle{TrustDomainId: "spiffe://a", RootCas: []*spirev1.Certificate{{DerBytes: []byte{1, 2}}}}
	if w, err := c.CreateBundle(t.Context(), b, timeout); err != nil || w.Revision != 1 {
		t.Errorf("created %+v, %v", w, err)
	}
	if _, err := c.CreateBundle(t.Context(), b, timeout); !errors.Is(err, api.ErrExists) {
		t.Errorf("second create: %v", err)
	}
}

func TestWatch_ResumesBehindACursor(t *testing.T) {
	c, _, _ := serve(t)
	for i := range 5 {
		create(t, c, entry(fmt.Sprint("e", i), "/p"))
	}
	enough := errors.New("enough")
	var revisions []store.Revision
	err := c.Watch(t.Context(), store.Cursor{Epoch: 1, Revision: 2}, func(b api.Batch) error {
		if want := 2 + len(records.Entries.Indexes(entry("e", "/p"))); len(b.Events) != want {
			t.Errorf("revision %d has %d events, want %d: the entry, SPIRE's event and the indexes", b.Cursor.Revision, len(b.Events), want)
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
	made := create(t, c, entry("e1", "/p"))
	req, err := http.NewRequestWithContext(t.Context(), "GET", base+"/v1/watch?type=entry&words=1", nil)
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
	text, err := json.Marshal(made.Entry)
	if err != nil {
		t.Fatal(err)
	}
	quoted, err := json.Marshal(string(text))
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`{"cursor":{"epoch":1,"revision":1},"events":[{"kind":"put","name":"entry e1","text":%s}]}`+"\n", quoted)
	if line != want {
		t.Errorf("got  %swant %s", line, want)
	}
}

func TestWatch_EndsWithTheServer(t *testing.T) {
	c, _, stop := serve(t)
	create(t, c, entry("e1", "/p"))
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
	const entries = 200
	for i := range entries {
		create(t, c, entry(fmt.Sprint("e", i), "/p"))
	}
	pairs, cursor, err := c.Dump(t.Context(), store.Linearizable())
	if err != nil {
		t.Fatal(err)
	}
	each := 2 + len(records.Entries.Indexes(entry("e", "/p")))
	if len(pairs) != entries*each || len(pairs) < 2*500 || cursor.Revision != entries {
		t.Errorf("%d pairs at %v, want %d, more than two pages", len(pairs), cursor, entries*each)
	}
	if !slices.IsSortedFunc(pairs, func(a, b api.Pair) int { return strings.Compare(string(a.Key), string(b.Key)) }) {
		t.Error("pairs are not in key order")
	}
}

func TestHandler_RefusesBadRequests(t *testing.T) {
	_, base, _ := serve(t)
	large := `{"entry":{"spiffe_id":"spiffe://a/x","selectors":[{"type":"a","value":"b"}],"hint":"` + strings.Repeat("x", store.ValueBytesMax) + `"}}`
	big := `{"entry":{"hint":"` + strings.Repeat("x", 3<<20) + `"}}`
	for _, test := range []struct {
		name, method, path, body string
		want                     string
	}{
		{"an unknown consistency", "GET", "/v1/entries?consistency=fresh", "", "invalid"},
		{"a malformed timeout", "GET", "/v1/entries?timeout=soon", "", "invalid"},
		{"a timeout that is over", "GET", "/v1/entries?timeout=-1s", "", "invalid"},
		{"a limit of nothing", "GET", "/v1/entries?limit=0", "", "invalid"},
		{"a limit of everything", "GET", "/v1/entries?limit=1000000", "", "invalid"},
		{"a malformed cursor", "GET", "/v1/watch?after=x", "", "invalid"},
		{"no body", "POST", "/v1/entries", "", "invalid"},
		{"a malformed body", "POST", "/v1/entries", "{", "invalid"},
		{"an unknown field", "POST", "/v1/entries", `{"entyr":{}}`, "invalid"},
		{"a huge body", "POST", "/v1/entries", big, "too_large"},
		{"an entry over the limit", "POST", "/v1/entries", large, "too_large"},
		{"an agent that is none", "GET", "/v1/authorized?agent=x", "", "invalid"},
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

func TestHandler_WhatOperatorsDo(t *testing.T) {
	c, _, _ := serve(t)
	if got, err := c.Status(t.Context(), timeout); err != nil || got.Node != "n1" || got.Role != api.RoleLeader {
		t.Errorf("status %+v, %v", got, err)
	}
	if got, err := c.CreateJoinToken(t.Context(), "n2", time.Hour, timeout); err != nil || got != "admit n2 for 1h0m0s" {
		t.Errorf("token %q, %v", got, err)
	}
	if err := c.RemoveServer(t.Context(), "n2", timeout); err != nil {
		t.Error(err)
	}
	if err := c.RotateAuthority(t.Context(), timeout); !errors.Is(err, api.ErrRotating) {
		t.Errorf("another rotation: %v", err)
	}
	if err := c.RemoveServer(t.Context(), "n/3", timeout); !errors.Is(err, store.ErrInvalid) || !strings.Contains(err.Error(), "no server n/3") {
		t.Errorf("removal that the store refuses: %v", err)
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
