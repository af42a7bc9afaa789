package rpc

import (
	"context"
	"sync"
)

// budget bounds the requests that one connection, or all those of one peer,
// have open, and their bytes.
type budget struct {
	callsMax int
	bytesMax int

	mu    sync.Mutex // guards the fields below
	calls int
	bytes int
	freed chan struct{} // closed when there is more room; nil while nobody waits
}

func newBudget(cfg Config) *budget {
	return &budget{callsMax: cfg.InFlightMax, bytesMax: cfg.InFlightBytesMax}
}

// acquire waits for room for a request of n bytes. It returns false if ctx ends
// first.
func (b *budget) acquire(ctx context.Context, n int) bool {
	for {
		freed := b.take(n)
		if freed == nil {
			return true
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return false
		}
	}
}

// take makes room for a request of n bytes, or returns what is closed when it
// may be worth another try. One request has room whatever its size.
func (b *budget) take(n int) (freed <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.calls >= b.callsMax || b.bytes > 0 && b.bytes+n > b.bytesMax {
		if b.freed == nil {
			b.freed = make(chan struct{})
		}
		return b.freed
	}
	b.calls++
	b.bytes += n
	return nil
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
	defer b.mu.Unlock()
	b.calls--
	b.bytes -= n
	if b.freed != nil {
		close(b.freed)
		b.freed = nil
	}
}
