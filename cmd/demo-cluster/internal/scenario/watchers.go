package scenario

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/check"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/cluster"
	"github.com/spire-raft/spire-raft/store"
)

// resumePause is how long a watcher waits before it resumes.
const resumePause = 20 * time.Millisecond

// watchers follow all changes, each through one server. A server that takes the
// place of one that is gone has a new watcher, which begins at the beginning.
type watchers struct {
	servers []*cluster.Server
	measure func(here string, e api.Event, now time.Time)
	ctx     context.Context // of start, ends all watchers
	wg      sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	current []*watcher // by place of the server
	retired []*check.Stream
}

// watcher is what follows one server.
type watcher struct {
	stream *check.Stream
	stop   context.CancelFunc
	done   chan struct{} // closed when the watcher has ended
}

func newWatchers(servers []*cluster.Server, measure func(string, api.Event, time.Time)) *watchers {
	w := &watchers{servers: servers, measure: measure}
	for _, srv := range servers {
		w.current = append(w.current, newWatcher(srv))
	}
	return w
}

func newWatcher(srv *cluster.Server) *watcher {
	return &watcher{stream: check.NewStream("watcher of " + srv.Name()), stop: func() {}, done: make(chan struct{})}
}

// start has all watchers follow their servers until ctx ends.
func (w *watchers) start(ctx context.Context) {
	w.ctx = ctx
	for i := range w.servers {
		w.follow(i)
	}
}

func (w *watchers) follow(i int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	cur := w.current[i]
	var ctx context.Context
	ctx, cur.stop = context.WithCancel(w.ctx)
	w.wg.Go(func() { // ends with stop
		defer close(cur.done)
		w.watch(ctx, w.servers[i], cur.stream)
	})
}

// retire ends the watcher of the server at place i, which is gone for good.
func (w *watchers) retire(i int) {
	w.mu.Lock()
	cur := w.current[i]
	w.mu.Unlock()
	cur.stop()
	<-cur.done
	cur.stream.Retire()
}

// renew puts a watcher of the server that is now at place i where one was
// retired.
func (w *watchers) renew(i int) {
	w.mu.Lock()
	w.retired = append(w.retired, w.current[i].stream)
	w.current[i] = newWatcher(w.servers[i])
	w.mu.Unlock()
	w.follow(i)
}

// wait waits until no watcher is left.
func (w *watchers) wait() { w.wg.Wait() }

// stream is that of the server at place i.
func (w *watchers) stream(i int) *check.Stream {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.current[i].stream
}

// streams are all that there have been.
func (w *watchers) streams() []*check.Stream {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := slices.Clone(w.retired)
	for _, cur := range w.current {
		all = append(all, cur.stream)
	}
	return all
}

// watch follows all changes through one server until ctx ends, and resumes
// where it was whenever the server has been away.
func (w *watchers) watch(ctx context.Context, srv *cluster.Server, stream *check.Stream) {
	here := srv.Name()
	for {
		cl, err := srv.WaitClient(ctx)
		if err != nil {
			return
		}
		err = cl.Watch(ctx, stream.Cursor(), func(b api.Batch) error {
			now := time.Now()
			stream.Add(b)
			for _, e := range b.Events {
				w.measure(here, e, now)
			}
			return nil
		})
		if errors.Is(err, store.ErrCompacted) {
			stream.Break(err)
			return
		}
		if pause(ctx, resumePause) != nil {
			return
		}
	}
}
