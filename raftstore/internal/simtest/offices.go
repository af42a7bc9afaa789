package simtest

import (
	"errors"
	"fmt"
	"sync"
)

// Offices remembers who led in which term. Its methods may be called
// concurrently.
type Offices struct {
	mu      sync.Mutex // guards the fields below
	leaders map[uint64]string
	errs    []error
}

// Saw notes that a node led a term.
func (o *Offices) Saw(node string, term uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.leaders == nil {
		o.leaders = make(map[uint64]string)
	}
	if other, ok := o.leaders[term]; ok && other != node {
		o.errs = append(o.errs, fmt.Errorf("term %d was led by %s and by %s", term, other, node))
	}
	o.leaders[term] = node
}

// Terms counts the terms in which somebody was seen to lead.
func (o *Offices) Terms() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.leaders)
}

// Check demands that no term had two leaders.
func (o *Offices) Check() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return errors.Join(o.errs...)
}
