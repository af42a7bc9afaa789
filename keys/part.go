package keys

import (
	"bytes"
	"errors"
	"fmt"
)

// ErrMalformed: the bytes are not a key of the kind asked for.
var ErrMalformed = errors.New("malformed key")

// Bytes is what ids and values of fields may be given as.
type Bytes interface{ ~string | ~[]byte }

// The first byte of a key. They are durable: never reuse one.
const (
	kindCounter = 'c'
	kindIndex   = 'i'
	kindItem    = 'd' // for data
)

// A part is escaped so that its end can be told from its content and sorts
// before everything that may stand there instead: escape terminator is less
// than escape escaped00, which is less than any other byte.
const (
	escape     = 0x00
	terminator = 0x01
	escaped00  = 0xff
)

// appendPart appends part, escaped and terminated.
func appendPart[T Bytes](dst []byte, part T) []byte {
	start := 0
	for i := range len(part) {
		if part[i] == escape {
			dst = append(dst, part[start:i]...)
			dst = append(dst, escape, escaped00)
			start = i + 1
		}
	}
	dst = append(dst, part[start:]...)
	return append(dst, escape, terminator)
}

// reader takes the parts off a key, from the front. After an error, which it
// keeps, it returns nothing.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) fail(problem string) {
	if r.err == nil {
		// The key's bytes stay out of the error: an id may be a secret.
		r.err = fmt.Errorf("%w: %s", ErrMalformed, problem)
	}
	r.rest = nil
}

// kind takes the first byte, which must be want.
func (r *reader) kind(want byte) {
	if len(r.rest) == 0 {
		r.fail("it is empty")
		return
	}
	if r.rest[0] != want {
		r.fail(fmt.Sprintf("it is of kind %q, not %q", r.rest[0], want))
		return
	}
	r.rest = r.rest[1:]
}

// part takes a part. It shares the key's bytes, with no room to append, unless
// there is an escaped byte in it.
func (r *reader) part(name string) []byte {
	var unescaped []byte
	for in := r.rest; ; {
		i := bytes.IndexByte(in, escape)
		if i < 0 || i+1 == len(in) {
			r.fail("it ends within the " + name)
			return nil
		}
		head, code := in[:i:i], in[i+1]
		in = in[i+2:]
		switch {
		case code == escaped00:
			unescaped = append(append(unescaped, head...), escape)
		case code != terminator:
			r.fail("unknown escape in the " + name)
			return nil
		case unescaped == nil:
			r.rest = in
			return head
		default:
			r.rest = in
			return append(unescaped, head...)
		}
	}
}

// end checks that nothing is left and returns the first error.
func (r *reader) end() error {
	if r.err == nil && len(r.rest) > 0 {
		r.fail(fmt.Sprintf("%d bytes too many", len(r.rest)))
	}
	return r.err
}
