package rpc

import (
	"context"
	"sync"
)

// budget bounds the requests that one connection has open, and their bytes.
// Only one goroutine may acquire.
type budget struct {
	slots    chan struct{}
	bytesMax int
	freed    chan struct{} // holds a token when bytes has become less

	mu    sync.Mutex // guards bytes
	bytes int
}

func newBudget(cfg Config) *budget {
	return &budget{
		slots:    make(chan struct{}, cfg.InFlightMax),
		bytesMax: cfg.InFlightBytesMax,
		freed:    make(chan struct{}, 1),
	}
}

// acquire waits for room for a request of n bytes. It returns false if ctx ends
// first.
func (b *budget) acquire(ctx context.Context, n int) bool {
	select {
	case b.slots <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	for !b.fits(n) {
		select {
		case <-b.freed:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

func (b *budget) fits(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bytes > 0 && b.bytes+n > b.bytesMax {
		return false
	}
	b.bytes += n
	return true
}

// add counts bytes that a request has come to hold. It may exceed the bound,
// which then keeps further requests out.
func (b *budget) add(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bytes += n
}

// release gives back a request and its n bytes.
func (b *budget) release(n int) {
	b.mu.Lock()
	b.bytes -= n
	b.mu.Unlock()
	<-b.slots
	select {
	case b.freed <- struct{}{}:
	default:
	}
}
