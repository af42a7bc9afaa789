package datastore

import (
	"math"
	"time"
)

// ceilSeconds returns the first Unix second that is not before t. A stored
// second s is before t if it is less, and at or after t if it isn't.
func ceilSeconds(t time.Time) int64 {
	if t.Nanosecond() > 0 {
		return secondAfter(t)
	}
	return t.Unix()
}

// secondAfter returns the first Unix second that is after t.
func secondAfter(t time.Time) int64 {
	if t.Unix() == math.MaxInt64 {
		return math.MaxInt64
	}
	return t.Unix() + 1
}
