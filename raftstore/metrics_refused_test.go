package raftstore_test

import (
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spire-raft/spire-raft/transport"
)

// TestMetrics_CountRefusedConnections has peers refused for different reasons.
func TestMetrics_CountRefusedConnections(t *testing.T) {
	regs := make(map[string]*prometheus.Registry)
	c := startCluster(t, 1, registries(regs))
	addr := c.nodes[0].Addr().String()
	member := c.admitted("gone")
	must(t, c.nodes[0].RemoveServer(c.ctx(), "gone"))
	stranger, foreign := c.intruder("stranger"), newCluster(t).intruder("node-1")
	for _, attempt := range []struct {
		by   *transport.Transport
		want error
	}{
		{stranger, transport.ErrNotAuthorized},
		{stranger, transport.ErrNotAuthorized},
		{member, transport.ErrNotAuthorized},
		{foreign, transport.ErrUntrusted},
	} {
		conn, err := attempt.by.DialAddress(c.ctx(), transport.Raft, addr)
		if err == nil {
			conn.Close()
		}
		if !errors.Is(err, attempt.want) {
			t.Errorf("dial: got %v, want %v", err, attempt.want)
		}
	}
	plain, err := net.Dial("tcp", addr)
	must(t, err)
	defer plain.Close()
	_, err = plain.Write([]byte("GET / HTTP/1.0\r\n\r\n"))
	must(t, err)

	c.eventually("all are counted", func() error {
		got := gathered(t, regs["node-1"])
		var errs []error
		for reason, want := range map[string]float64{"not_authorized": 2, "removed": 1, "handshake": 1} {
			if n := got["spire_raft_connections_refused_total/"+reason]; n != want {
				errs = append(errs, fmt.Errorf("%s: got %v, want %v", reason, n, want))
			}
		}
		return errors.Join(errs...)
	})
}
