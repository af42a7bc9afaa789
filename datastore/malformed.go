package datastore

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spire-raft/spire-raft/records"
)

const (
	malformedNamedMax = 8   // records that an error names
	malformedTextMax  = 512 // bytes of its text for each
)

// MalformedRecordsError tells of stored records that can't be decoded, found by
// a call that has dealt with all others: a list comes with it, complete but for
// these records, and a prune has deleted what else there was to delete. In its
// chain are [records.ErrMalformed] and the records that it names.
type MalformedRecordsError struct {
	// Named are the first of the records, at most 8.
	Named []*records.MalformedError

	// Count is how many there are.
	Count int
}

// Error names some of the records. The text is bounded, whatever their number
// and the length of their ids.
func (e *MalformedRecordsError) Error() string {
	var texts []string
	for _, bad := range e.Named {
		text := bad.Error()
		if len(text) > malformedTextMax {
			text = strings.ToValidUTF8(text[:malformedTextMax], "") + "..."
		}
		texts = append(texts, text)
	}
	if more := e.Count - len(e.Named); more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(texts, "; ")
}

// Unwrap returns the records that e names.
func (e *MalformedRecordsError) Unwrap() []error {
	errs := make([]error, len(e.Named))
	for i, bad := range e.Named {
		errs[i] = bad
	}
	return errs
}

// collect adds the record that err tells of, and returns whether it tells of
// one. Any other error is for the caller to return.
func (e *MalformedRecordsError) collect(err error) bool {
	bad, ok := errors.AsType[*records.MalformedError](err)
	if !ok {
		return false
	}
	e.Count++
	if len(e.Named) < malformedNamedMax {
		e.Named = append(e.Named, bad)
	}
	return true
}

// add adds the records of other.
func (e *MalformedRecordsError) add(other MalformedRecordsError) {
	e.Count += other.Count
	e.Named = append(e.Named, other.Named[:min(len(other.Named), malformedNamedMax-len(e.Named))]...)
}

// errOrNil returns e, or nil if no record was added.
func (e *MalformedRecordsError) errOrNil() error {
	if e.Count == 0 {
		return nil
	}
	return e
}
