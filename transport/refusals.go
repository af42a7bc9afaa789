package transport

import (
	"log/slog"
	"net"
	"sync"
	"time"
)

// refusalInterval is the least time between two log lines about refusals.
const refusalInterval = time.Second

// refusalLog keeps a flood of bad connections from flooding the log.
type refusalLog struct {
	log      *slog.Logger
	onRefuse func(reason string) // nil, or told of each

	mu      sync.Mutex // guards the fields below
	last    time.Time
	skipped int
}

func (r *refusalLog) add(from net.Addr, err error) {
	if r.onRefuse != nil {
		r.onRefuse(reasonName(err))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if !r.last.IsZero() && now.Sub(r.last) < refusalInterval {
		r.skipped++
		return
	}
	r.log.Warn("connection refused", "from", from.String(), "error", err, "others", r.skipped)
	r.last, r.skipped = now, 0
}
