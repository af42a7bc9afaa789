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
		print("  %s  http://%s  (process %d)", srv.Name, srv.Addresses().Client, srv.PID())
	}
	first := "http://" + s.Cluster.Servers[0].Addresses().Client
	last := "http://" + s.Cluster.Servers[len(s.Cluster.Servers)-1].Addresses().Client
	parent := url.QueryEscape(s.Entries[0].Indexes[1].Value)
	print("\nTry, in another shell (the token is good for this run only):\n")
	print("  AUTH='Authorization: Bearer %s'", s.Cluster.Token())
	print("  curl -H \"$AUTH\" %s/v1/status", first)
	print("  curl -H \"$AUTH\" %s/v1/count/entry", first)
	print("  curl -H \"$AUTH\" '%s/v1/items/entry?field=parent_id&value=%s&limit=3'", first, parent)
	print("  curl -H \"$AUTH\" -N '%s/v1/watch?type=note&words=1'      # in a shell of its own", last)
	print("  curl -H \"$AUTH\" -d '{\"value\":{\"body\":\"hello\"},\"indexes\":[{\"field\":\"colour\",\"value\":\"red\"}]}' %s/v1/items/note/first", first)
	print("  curl -H \"$AUTH\" '%s/v1/items/note/first?consistency=stale:10s'", last)
	print("  curl -H \"$AUTH\" '%s/v1/items/note?field=colour&value=red'", last)
	print("\nKill a server if you like (kill -9 %d): it is started again. Ctrl-C stops all.", s.Cluster.Servers[0].PID())
	s.Display.Printf("%s", text.String())
}
