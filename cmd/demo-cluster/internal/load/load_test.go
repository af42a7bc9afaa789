package load

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/check"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/client"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/cluster"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/entryfile"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
)

const (
	done     = `{"revision":7}`
	existing = `{"revision":7,"existing":true}`
	exists   = `{"error":"exists","message":"there"}`
	refused  = `{"error":"no_leader","message":"none"}`
	unknown  = `{"error":"unknown_outcome","message":"who knows"}`
)

// script is a server that gives one answer after the other.
func script(t *testing.T, answers ...string) func() (*client.Client, error) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if strings.Contains(answers[0], "error") {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		io.WriteString(w, answers[0])
		if len(answers) > 1 {
			answers = answers[1:]
		}
	}))
	cl := client.New(srv.Listener.Addr().String(), "token", new(atomic.Int64))
	t.Cleanup(func() {
		cl.Close()
		srv.Close()
	})
	return func() (*client.Client, error) { return cl, nil }
}

func TestTask_NotesWhatItsAttemptsCameTo(t *testing.T) {
	for _, test := range []struct {
		name    string
		answers []string
		blind   bool
		want    check.Counts
		fails   bool
	}{
		{"at once", []string{done}, false, check.Counts{Acknowledged: 1}, false},
		{"at the second attempt", []string{refused, done}, false, check.Counts{Acknowledged: 1}, false},
		{"not at all", []string{refused}, false, check.Counts{Failed: 1}, true},
		{"it is there already", []string{existing}, false, check.Counts{Failed: 1}, false},
		{"it is someone else's", []string{exists}, false, check.Counts{Failed: 1}, true},
		{"unknown, and then done", []string{unknown, done}, false, check.Counts{Acknowledged: 1}, false},
		{"unknown, and then there", []string{unknown, existing}, false, check.Counts{Ambiguous: 1}, false},
		{"unknown, and then taken", []string{unknown, exists}, false, check.Counts{Ambiguous: 1}, false},
		{"unknown to the end", []string{unknown}, false, check.Counts{Ambiguous: 1}, true},
		{"unknown, and a second attempt could do it twice", []string{unknown, done}, true, check.Counts{Ambiguous: 1}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			ledger := check.NewLedger()
			task := task{write: "w", blind: test.blind, send: func(ctx context.Context, cl *client.Client) (api.Written, error) {
				return cl.CreateEntry(ctx, nil, writeTimeout)
			}}
			err := task.do(t.Context(), "n1", script(t, test.answers...), ledger)
			if got := ledger.Counts(); got != test.want || (err != nil) != test.fails {
				t.Errorf("counts %+v, error %v; want %+v", got, err, test.want)
			}
		})
	}
}

func TestTask_EndsWithItsServer(t *testing.T) {
	gone := errors.New("gone")
	err := task{write: "w"}.do(t.Context(), "n1", func() (*client.Client, error) { return nil, gone }, check.NewLedger())
	if !errors.Is(err, gone) {
		t.Errorf("error %v", err)
	}
}

// TestExpectProgress_LastsAsLongAsThereIsSome: a load of any size may go on.
func TestExpectProgress_LastsAsLongAsThereIsSome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		progress := expectProgress(cancel)
		for range 20 {
			time.Sleep(stallMax - time.Second)
			progress.Reset(stallMax)
		}
		if ctx.Err() != nil {
			t.Fatalf("ended while there was progress: %v", context.Cause(ctx))
		}
		time.Sleep(stallMax - time.Second)
		synctest.Wait()
		if ctx.Err() != nil {
			t.Error("ended before its time")
		}
		time.Sleep(2 * time.Second)
		if err := context.Cause(ctx); err == nil || !strings.Contains(err.Error(), "no write has ended for 30s") {
			t.Errorf("ended with %v", err)
		}
	})
}

// TestFleet_IsWellFormed holds the entries that the demo makes up against what
// it demands of those in a file.
func TestFleet_IsWellFormed(t *testing.T) {
	ws, err := cluster.OpenWorkspace("", t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	c, err := cluster.New(cluster.Config{Nodes: 2, Workspace: ws, TrustDomain: spiffeid.RequireTrustDomainFromString("a")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		c.Close()
		if err := ws.Close(); err != nil {
			t.Error(err)
		}
	}()
	f := NewFleet(c)
	var entries []*spirev1.RegistrationEntry
	for i, region := range regions {
		entries = append(entries, f.newEntry(hotEntry(i), region))
	}
	entries = append(entries, f.NewProbe(check.WritePrefix+"probe-1"))
	data := api.Entries{Entries: entries}
	file, err := entryfile.Parse("made up", marshal(t, data), "")
	if err = errors.Join(err, file.Malformed()); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, a := range f.Agents {
		ids = append(ids, a.ID)
	}
	if slices.Sort(ids); len(slices.Compact(ids)) != 2*len(regions) {
		t.Errorf("agents %q", ids)
	}
}

func TestFleet_MakesBundlesForAllTrustDomains(t *testing.T) {
	f := &Fleet{TrustDomain: spiffeid.RequireTrustDomainFromString("a")}
	tasks, err := f.bundles([]*spirev1.RegistrationEntry{
		{FederatesWith: []string{"spiffe://c", "spiffe://b"}},
		{FederatesWith: []string{"spiffe://b", "spiffe://a"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var writes []string
	for _, task := range tasks {
		writes = append(writes, task.write)
	}
	if want := []string{"bundle spiffe://a", "bundle spiffe://b", "bundle spiffe://c"}; !slices.Equal(writes, want) {
		t.Errorf("writes %q, want %q", writes, want)
	}
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
