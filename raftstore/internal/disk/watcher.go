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

	// Files are files in Dir that are written to in part instead of getting
	// larger. Each returns how many bytes it takes so. They share the reserve
	// evenly: of a file's share, that much need not be free on the disk. Its room
	// is of no use to the other files, so it counts for no more than the share.
	//
	// They are asked where the free space alone is short. An error counts as no
	// room.
	Files []func() (uint64, error)

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

	hasty chan struct{} // asks for a look at once

	mu      sync.Mutex // guards the fields below
	free    uint64
	spare   uint64 // of free, before Low turns true
	taken   uint64 // since then, at most
	low     bool
	failing bool
}

const (
	// hastyPause is the time between looks that Take asks for.
	hastyPause = 50 * time.Millisecond

	// takes is how many bytes may be written in the end for each that Take is
	// told of: to the log, to the state as data and as history, and what is
	// written once more since it lies beside that.
	takes = 4
)

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
		cfg:   cfg,
		stop:  make(chan struct{}),
		done:  make(chan struct{}),
		hasty: make(chan struct{}, 1),
		free:  free,
	}
	need := w.need(free)
	w.low = free < need
	w.spare = free - min(free, need)
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

// Take tells the watcher that so many bytes are about to be written. It looks at
// once where that might be more than there is: a fast disk may fill up between
// two looks.
func (w *Watcher) Take(bytes uint64) {
	w.mu.Lock()
	w.taken += takes * bytes
	look := !w.low && w.taken > w.spare
	w.mu.Unlock()
	if !look {
		return
	}
	select {
	case w.hasty <- struct{}{}:
	default: // one is due already
	}
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
		case <-w.hasty:
			w.look()
			select {
			case <-time.After(hastyPause):
			case <-w.stop:
				return
			}
		}
	}
}

// look takes a measure. One that fails changes nothing: what was known stays
// the best guess, and a disk that is really broken shows itself elsewhere.
func (w *Watcher) look() {
	w.mu.Lock()
	taken := w.taken
	w.mu.Unlock()
	free, err := w.cfg.Free(w.cfg.Dir)
	need := w.need(free)

	w.mu.Lock()
	report := err != nil && !w.failing
	w.failing = err != nil
	changed := false
	if err == nil {
		w.free, w.spare = free, free-min(free, need)
		w.taken -= taken
		changed = w.low != (free < need)
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

// need is how much must be free for Low not to be true. Space that is short stays
// short up to 1.25 times the reserve.
func (w *Watcher) need(free uint64) uint64 {
	reserve := w.cfg.ReserveBytes
	if w.Low() {
		reserve += reserve / 4
	}
	if free >= reserve || len(w.cfg.Files) == 0 {
		return reserve
	}
	need, share := uint64(0), reserve/uint64(len(w.cfg.Files))
	for _, reusable := range w.cfg.Files {
		room, err := reusable()
		if err != nil {
			room = 0
		}
		need += share - min(room, share)
	}
	return need
}
