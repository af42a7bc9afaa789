package raftstore_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spire-raft/spire-raft/transport"
)

// TestMetrics_CountRefusedConnections has peers refused for different reasons.
func TestMetrics_CountRefusedConnections(t *testing.T) {
	t.Parallel()
	regs := make(map[string]*prometheus.Registry)
	c := startCluster(t, 1, registries(regs))
	addr := c.nodes[0].Addr().String()
	member := c.admitted("gone")
	must(t, c.nodes[0].RemoveServer(c.ctx(), "gone"))
	stranger := c.intruder("stranger")
	for _, attempt := range []struct {
		by   *transport.Transport
		want error
	}{
		{stranger, transport.ErrNotAuthorized},
		{stranger, transport.ErrNotAuthorized},
		{member, transport.ErrNotAuthorized},
	} {
		conn, err := attempt.by.DialAddress(c.ctx(), transport.Raft, addr)
		if err == nil {
			conn.Close()
		}
		if !errors.Is(err, attempt.want) {
			t.Errorf("dial: got %v, want %v", err, attempt.want)
		}
	}
	foreign, err := newCluster(t).credentials(clusterID, "stranger").Load()
	must(t, err)
	conn, err := tls.Dial("tcp", addr, &tls.Config{
		Certificates: []tls.Certificate{foreign.Certificate}, NextProtos: []string{transport.Raft.ALPN()},
		InsecureSkipVerify: true, // it is the node that refuses
	})
	must(t, err)
	conn.Close() // the node waits no longer for what else may come
	plain, err := net.Dial("tcp", addr)
	must(t, err)
	defer plain.Close()
	_, err = plain.Write([]byte("GET / HTTP/1.0\r\n\r\n"))
	must(t, err)

	c.eventually("all are counted", func() error {
		got := gathered(t, regs["node-1"])
		var errs []error
		for reason, want := range map[string]float64{"not_authorized": 2, "removed": 1, "untrusted": 1, "handshake": 1} {
			if n := got["spire_raft_connections_refused_total/"+reason]; n != want {
				errs = append(errs, fmt.Errorf("%s: got %v, want %v", reason, n, want))
			}
		}
		return errors.Join(errs...)
	})
}
