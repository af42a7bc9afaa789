package node_test

import (
	"encoding/json"
	"net"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/node"
)

func TestProcess_SaysWhyItDoesNotServe(t *testing.T) {
	t.Cleanup(func() { signal.Reset(syscall.SIGINT, syscall.SIGPIPE) }) // a server ignores them
	for _, test := range []struct{ name, stdin, want string }{
		{"no setup", "", "setup"},
		{"a malformed setup", "{\n", "setup"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var stdout, log strings.Builder
			status := node.Process{Stdin: strings.NewReader(test.stdin), Stdout: &stdout, Log: &log}.Run(t.Context())
			var ready api.Ready
			if err := json.Unmarshal([]byte(stdout.String()), &ready); err != nil {
				t.Fatal(err)
			}
			if status != 1 || !strings.Contains(ready.Error, test.want) || !strings.Contains(log.String(), test.want) {
				t.Errorf("status %d, %+v, log %q", status, ready, log.String())
			}
		})
	}
}

func TestListen_TakesAnotherPortWhereOneIsTaken(t *testing.T) {
	first, err := node.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	second, err := node.Listen("tcp", first.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	host, _, err := net.SplitHostPort(second.Addr().String())
	if err != nil || host != "127.0.0.1" || second.Addr().String() == first.Addr().String() {
		t.Errorf("listening on %v and %v", first.Addr(), second.Addr())
	}
	if _, err := node.Listen("tcp", "192.0.2.1:0"); err == nil {
		t.Error("an address of another machine was accepted")
	}
}
