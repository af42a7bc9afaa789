package client_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/client"
	"github.com/spire-raft/spire-raft/store"
)

func TestOutcomeOf_SaysOnlyWhatIsCertain(t *testing.T) {
	for _, test := range []struct {
		err  error
		want client.Outcome
	}{
		{nil, client.Acknowledged},
		{api.NewError(store.ErrNoLeader), client.Failed},
		{api.NewError(store.ErrConflict), client.Failed},
		{fmt.Errorf("more: %w", api.NewError(store.ErrNoSpace)), client.Failed},
		{api.NewError(fmt.Errorf("%w: %w", store.ErrUnknownOutcome, store.ErrNoLeader)), client.Ambiguous},
		{fmt.Errorf("%w: refused", client.ErrNotSent), client.Failed},
		{io.ErrUnexpectedEOF, client.Ambiguous},
		{errors.New("anything else"), client.Ambiguous},
	} {
		if got := client.OutcomeOf(test.err); got != test.want {
			t.Errorf("%v is %v, want %v", test.err, got, test.want)
		}
	}
}

// write sends a write to address and returns what is known of it.
func write(t *testing.T, address string) (client.Outcome, error) {
	t.Helper()
	c := client.New(address, "token", new(atomic.Int64))
	defer c.Close()
	_, err := c.CreateEntry(t.Context(), nil, 10*time.Millisecond)
	return client.OutcomeOf(err), err
}

func TestCreateEntry_ServerThatIsNotThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if o, err := write(t, l.Addr().String()); o != client.Failed {
		t.Errorf("%v: %v", o, err)
	}
}

// serveRaw gives each connection to fn once a request has come over it.
func serveRaw(t *testing.T, fn func(net.Conn)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				fn(c)
			}
			c.Close()
		}
	}()
	return l.Addr().String()
}

func TestCreateEntry_ServerThatDiesBeforeItAnswers(t *testing.T) {
	address := serveRaw(t, func(net.Conn) {})
	if o, err := write(t, address); o != client.Ambiguous {
		t.Errorf("%v: %v", o, err)
	}
}

func TestCreateEntry_ServerThatDiesWithinItsAnswer(t *testing.T) {
	address := serveRaw(t, func(c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{\"revision\":")
	})
	if o, err := write(t, address); o != client.Ambiguous {
		t.Errorf("%v: %v", o, err)
	}
}

func TestCreateEntry_ServerThatNeverAnswers(t *testing.T) {
	done := make(chan struct{})
	defer close(done)
	address := serveRaw(t, func(net.Conn) { <-done })
	if o, err := write(t, address); o != client.Ambiguous {
		t.Errorf("%v: %v", o, err)
	}
}

func TestCreateEntry_AnswerThatIsNoneOfOurs(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	if o, err := write(t, srv.Listener.Addr().String()); o != client.Ambiguous {
		t.Errorf("%v: %v", o, err)
	}
}

func TestStreams_ABreakIsAnError(t *testing.T) {
	address := serveRaw(t, func(c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"+
			`{"cursor":{"epoch":1,"revision":1},"pairs":[{"key":"YQ==","value":"YQ=="}]}`+"\n")
	})
	c := client.New(address, "token", new(atomic.Int64))
	defer c.Close()
	if pairs, _, err := c.Dump(t.Context(), store.Linearizable()); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("dump returned %d pairs, %v", len(pairs), err)
	}
	batches := 0
	err := c.Watch(t.Context(), store.Cursor{}, func(api.Batch) error { batches++; return nil })
	if err == nil || batches != 1 {
		t.Errorf("watch ended after %d batches with %v", batches, err)
	}
}

func TestStreams_TheServersReasonArrives(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"cursor":{"epoch":1,"revision":1}}`+"\n"+`{"failure":{"error":"compacted","message":"gone"}}`+"\n")
	}))
	defer srv.Close()
	c := client.New(srv.Listener.Addr().String(), "token", new(atomic.Int64))
	defer c.Close()
	err := c.Watch(t.Context(), store.Cursor{}, func(api.Batch) error { return nil })
	if !errors.Is(err, store.ErrCompacted) {
		t.Errorf("watch ended with %v", err)
	}
}

func TestOperations_CountWhatWasDone(t *testing.T) {
	answers := []string{`{"revision":1}`, `{"error":"no_leader","message":"none"}`, `{"count":3}`, `{"entries":[]}`}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if strings.Contains(answers[0], "no_leader") {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		io.WriteString(w, answers[0])
		answers = answers[1:]
	}))
	defer srv.Close()
	var done atomic.Int64
	c := client.New(srv.Listener.Addr().String(), "token", &done)
	defer c.Close()
	if _, err := c.CreateEntry(t.Context(), nil, time.Minute); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateEntry(t.Context(), nil, time.Minute); !errors.Is(err, store.ErrNoLeader) {
		t.Fatal(err)
	}
	if n, err := c.CountEntries(t.Context(), store.Linearizable(), time.Minute); err != nil || n != 3 {
		t.Fatal(n, err)
	}
	if _, err := c.Authorized(t.Context(), "spiffe://a/agent", time.Minute); err != nil {
		t.Fatal(err)
	}
	if got := done.Load(); got != 2 {
		t.Errorf("%d operations, want 2: those that failed, and what a cache answers, don't count", got)
	}
}
