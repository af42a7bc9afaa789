package store

import (
	"fmt"
	"time"
)

// Consistency says how fresh the snapshot of a read must be. The zero value is
// [Linearizable].
type Consistency struct {
	mode     mode
	revision Revision
	age      time.Duration
}

type mode uint8

const (
	linearizable mode = iota
	atLeast
	boundedStale
)

// Linearizable reads see every transaction that committed, on any server,
// before the read began. They need a quorum.
func Linearizable() Consistency { return Consistency{} }

// AtLeast reads see revision r and everything before it, and wait for it where
// this server has not reached it. With the revision of a write that went
// through another server they read that write. AtLeast(0) takes what this
// server has, however old.
func AtLeast(r Revision) Consistency { return Consistency{mode: atLeast, revision: r} }

// BoundedStale reads see every transaction that committed longer than age ago.
// They go on without a quorum until the bound is reached, then end in
// [ErrStale]. A negative age counts as zero.
func BoundedStale(age time.Duration) Consistency {
	return Consistency{mode: boundedStale, age: max(age, 0)}
}

// MinRevision returns the revision of an [AtLeast] read, and whether c is one.
// It is for backends.
func (c Consistency) MinRevision() (Revision, bool) { return c.revision, c.mode == atLeast }

// MaxAge returns the bound of a [BoundedStale] read, and whether c is one. It
// is for backends.
func (c Consistency) MaxAge() (time.Duration, bool) { return c.age, c.mode == boundedStale }

// String formats c for logs and errors.
func (c Consistency) String() string {
	switch c.mode {
	case atLeast:
		return fmt.Sprintf("at least revision %d", c.revision)
	case boundedStale:
		return fmt.Sprintf("at most %v stale", c.age)
	default:
		return "linearizable"
	}
}
