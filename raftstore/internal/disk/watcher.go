package disk

import (
	"log/slog"
	"sync"
	"time"
)

// Config shapes a Watcher.
type Config struct {
	// Dir is the directory to watch.
	Dir string

	// ReserveBytes is the free space under which Low turns true. It turns
	// false again at 1.25 times that, so that it doesn't flap. Zero means that
	// it never turns true.
	ReserveBytes uint64

	// Interval is the time between looks. Zero means one second.
	Interval time.Duration

	// OnChange, if set, is told when Low changes. It is called from the
	// watcher's goroutine and delays it, but must not call Close.
	OnChange func(low bool, free uint64)

	// Free measures. Nil means [Free].
	Free func(dir string) (uint64, error)

	// Log gets changes and failures. Nil discards them.
	Log *slog.Logger
}

// Watcher looks at the free space of a directory every so often. Its methods
// may be called concurrently.
type Watcher struct {
	cfg  Config
	stop chan struct{}
	done chan struct{}
	once sync.Once

	mu      sync.Mutex // guards the fields below
	free    uint64
	low     bool
	failing bool
}

// Watch looks once, so that Free and Low have an answer, and fails if that
// fails. Then it goes on in a goroutine until Close. Low may be true at once;
// OnChange is not told so.
func Watch(cfg Config) (*Watcher, error) {
	if cfg.Interval == 0 {
		cfg.Interval = time.Second
	}
	if cfg.Free == nil {
		cfg.Free = Free
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	free, err := cfg.Free(cfg.Dir)
	if err != nil {
		return nil, err
	}
	w := &Watcher{
		cfg:  cfg,
		stop: make(chan struct{}),
		done: make(chan struct{}),
		free: free,
		low:  free < cfg.ReserveBytes,
	}
	go w.run()
	return w, nil
}

// Free returns the bytes that were free at the last look that succeeded.
func (w *Watcher) Free() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.free
}

// Low tells whether space is short.
func (w *Watcher) Low() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.low
}

// Close ends the watcher and waits for a call of OnChange to return. It may be
// called again.
func (w *Watcher) Close() {
	w.once.Do(func() { close(w.stop) })
	<-w.done
}

// run looks until Close closes stop.
func (w *Watcher) run() {
	defer close(w.done)
	t := time.NewTicker(w.cfg.Interval)
	defer t.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-t.C:
			w.look()
		}
	}
}

// look takes a measure. One that fails changes nothing: what was known stays
// the best guess, and a disk that is really broken shows itself elsewhere.
func (w *Watcher) look() {
	free, err := w.cfg.Free(w.cfg.Dir)

	w.mu.Lock()
	report := err != nil && !w.failing
	w.failing = err != nil
	changed := false
	if err == nil {
		w.free = free
		changed = w.low != w.isLow(free)
		w.low = w.low != changed
	}
	low := w.low
	w.mu.Unlock()

	if report {
		w.cfg.Log.Warn("can't measure free disk space", "dir", w.cfg.Dir, "error", err)
	}
	if !changed {
		return
	}
	w.cfg.Log.Warn("disk space changed", "low", low, "free_bytes", free, "reserve_bytes", w.cfg.ReserveBytes)
	if w.cfg.OnChange != nil {
		w.cfg.OnChange(low, free)
	}
}

// isLow applies the hysteresis: space that is short stays short up to 1.25
// times the reserve.
func (w *Watcher) isLow(free uint64) bool {
	reserve := w.cfg.ReserveBytes
	if w.low {
		return free < reserve+reserve/4
	}
	return free < reserve
}
