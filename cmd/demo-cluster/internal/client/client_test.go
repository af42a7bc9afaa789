package client_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
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
	c := client.New(address, "token")
	defer c.Close()
	_, err := c.Create(t.Context(), "write", "1", api.CreateRequest{}, 10*time.Millisecond)
	return client.OutcomeOf(err), err
}

func TestCreate_ServerThatIsNotThere(t *testing.T) {
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

func TestCreate_ServerThatDiesBeforeItAnswers(t *testing.T) {
	address := serveRaw(t, func(net.Conn) {})
	if o, err := write(t, address); o != client.Ambiguous {
		t.Errorf("%v: %v", o, err)
	}
}

func TestCreate_ServerThatDiesWithinItsAnswer(t *testing.T) {
	address := serveRaw(t, func(c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{\"revision\":")
	})
	if o, err := write(t, address); o != client.Ambiguous {
		t.Errorf("%v: %v", o, err)
	}
}

func TestCreate_ServerThatNeverAnswers(t *testing.T) {
	done := make(chan struct{})
	defer close(done)
	address := serveRaw(t, func(net.Conn) { <-done })
	if o, err := write(t, address); o != client.Ambiguous {
		t.Errorf("%v: %v", o, err)
	}
}

func TestCreate_AnswerThatIsNoneOfOurs(t *testing.T) {
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
	c := client.New(address, "token")
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
	c := client.New(srv.Listener.Addr().String(), "token")
	defer c.Close()
	err := c.Watch(t.Context(), store.Cursor{}, func(api.Batch) error { return nil })
	if !errors.Is(err, store.ErrCompacted) {
		t.Errorf("watch ended with %v", err)
	}
}
