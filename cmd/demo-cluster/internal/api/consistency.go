package api

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spire-raft/spire-raft/store"
)

// FormatConsistency writes c as [ParseConsistency] reads it.
func FormatConsistency(c store.Consistency) string {
	if rev, ok := c.MinRevision(); ok {
		return "revision:" + strconv.FormatUint(uint64(rev), 10)
	}
	if age, ok := c.MaxAge(); ok {
		return "stale:" + age.String()
	}
	return "linearizable"
}

// ParseConsistency reads "linearizable" (or nothing), "stale:1m30s" or
// "revision:17".
func ParseConsistency(s string) (store.Consistency, error) {
	kind, arg, _ := strings.Cut(s, ":")
	switch kind {
	case "", "linearizable":
		return store.Linearizable(), nil
	case "stale":
		age, err := time.ParseDuration(arg)
		if err == nil {
			return store.BoundedStale(age), nil
		}
	case "revision":
		rev, err := strconv.ParseUint(arg, 10, 64)
		if err == nil {
			return store.AtLeast(store.Revision(rev)), nil
		}
	}
	return store.Consistency{}, fmt.Errorf("%w: consistency %q: use linearizable, stale:10s or revision:17", store.ErrInvalid, s)
}

// ParseCursor reads what [store.Cursor.String] writes: epoch/revision. Nothing
// is the zero cursor.
func ParseCursor(s string) (store.Cursor, error) {
	if s == "" {
		return store.Cursor{}, nil
	}
	epoch, revision, _ := strings.Cut(s, "/")
	e, err1 := strconv.ParseUint(epoch, 10, 64)
	r, err2 := strconv.ParseUint(revision, 10, 64)
	if err1 != nil || err2 != nil {
		return store.Cursor{}, fmt.Errorf("%w: cursor %q: use epoch/revision, as in 1/17", store.ErrInvalid, s)
	}
	return store.Cursor{Epoch: store.Epoch(e), Revision: store.Revision(r)}, nil
}
