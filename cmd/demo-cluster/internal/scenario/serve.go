package scenario

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// serve leaves the cluster alone until it is interrupted, or for a given time.
func serve(ctx context.Context, s *session) error {
	if err := s.setUp(ctx); err != nil {
		return err
	}
	if err := s.loadEntries(ctx); err != nil {
		return err
	}
	s.explain()
	if s.Duration == 0 {
		<-ctx.Done()
		return nil
	}
	t := time.NewTimer(s.Duration)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return nil
}

// explain prints how to reach the cluster, ready to be pasted into a shell.
func (s *session) explain() {
	var text strings.Builder
	print := func(format string, args ...any) { fmt.Fprintf(&text, format+"\n", args...) }
	print("\nThe cluster is up. Its servers answer at:\n")
	for _, srv := range s.Cluster.Servers {
		print("  %s  http://%s  (process %d)", srv.Name(), srv.Addresses().Client, srv.PID())
	}
	first := "http://" + s.Cluster.Servers[0].Addresses().Client
	last := "http://" + s.Cluster.Servers[len(s.Cluster.Servers)-1].Addresses().Client
	td := s.fleet.TrustDomain.IDString()
	agent := s.fleet.Agents[len(s.fleet.Agents)-1].ID
	print("\nTry, in another shell (the token is good for this run only):\n")
	print("  AUTH='Authorization: Bearer %s'", s.Cluster.Token())
	print("  curl -H \"$AUTH\" %s/v1/status", first)
	print("  curl -H \"$AUTH\" %s/v1/count/entries", first)
	print("  curl -H \"$AUTH\" '%s/v1/entries?parent_id=%s&limit=3'", first, url.QueryEscape(s.Entries[0].ParentId))
	print("  curl -H \"$AUTH\" -N '%s/v1/watch?type=entry&words=1&after=%s'      # in a shell of its own", last, s.watchers.stream(0).Cursor())
	print("  curl -H \"$AUTH\" -d '{\"entry\":{\"entry_id\":\"mine\",\"spiffe_id\":\"%s/mine\",\"parent_id\":\"%s\",\"selectors\":[{\"type\":\"unix\",\"value\":\"uid:1\"}]}}' %s/v1/entries", td, agent, first)
	print("  curl -H \"$AUTH\" '%s/v1/authorized?agent=%s'      # the agent is given it", last, url.QueryEscape(agent))
	print("  curl -H \"$AUTH\" -X PATCH -d '{\"hint\":\"changed\"}' %s/v1/entries/mine", last)
	print("  curl -H \"$AUTH\" '%s/v1/entries?hint=changed&consistency=stale:10s'", first)
	print("  curl -H \"$AUTH\" -X DELETE %s/v1/entries/mine", first)
	print("\nKill a server if you like (kill -9 %d): it is started again. Ctrl-C stops all.", s.Cluster.Servers[0].PID())
	s.Display.Printf("%s", text.String())
}
