package entryfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
)

// Limits on what a file may hold.
const (
	entryBytesMax = 1 << 20
	entriesMax    = 100_000
)

// ErrFile: the file holds something else than well-formed registration entries.
var ErrFile = errors.New("bad registration entries")

// File is what a file of registration entries holds.
type File struct {
	Name string

	// TrustDomain is that of all entries.
	TrustDomain spiffeid.TrustDomain

	// Entries are the well-formed ones, in their order, each with an id.
	Entries []*spirev1.RegistrationEntry

	// Problems are what is wrong with the others, in their order: one or more
	// for each.
	Problems []*Problem
}

// Problem is what is wrong with a field of an entry.
type Problem struct {
	Number int    // of the entry, from 1
	Field  string // "" for the entry as a whole
	Reason string
}

func (p *Problem) Error() string {
	if p.Field == "" {
		return fmt.Sprintf("entry %d: %s", p.Number, p.Reason)
	}
	return fmt.Sprintf("entry %d: %s: %s", p.Number, p.Field, p.Reason)
}

// Malformed returns an [ErrFile] that tells all problems, or nil.
func (f File) Malformed() error {
	if len(f.Problems) == 0 {
		return nil
	}
	var text bytes.Buffer
	for _, p := range f.Problems {
		fmt.Fprintf(&text, "\n  %v", p)
	}
	return fmt.Errorf("%w: %s: %d of %d entries are malformed:%s",
		ErrFile, f.Name, f.MalformedCount(), f.MalformedCount()+len(f.Entries), text.String())
}

// MalformedCount returns how many entries are malformed.
func (f File) MalformedCount() int {
	n, last := 0, 0
	for _, p := range f.Problems {
		if p.Number != last {
			n, last = n+1, p.Number
		}
	}
	return n
}

// Parse reads a file, in which no entry may have an id that begins with reserved
// if that is not empty. The error is [ErrFile] where that is not possible at all.
func Parse(name string, data []byte, reserved string) (File, error) {
	f := File{Name: name}
	var list struct {
		Entries []json.RawMessage `json:"entries"`
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // as some editors begin a file
	if err := json.Unmarshal(data, &list); err != nil {
		return f, fmt.Errorf("%w: %s: %s", ErrFile, name, describe(data, err))
	}
	if n := len(list.Entries); n == 0 || n > entriesMax {
		return f, fmt.Errorf(`%w: %s: "entries" has %d elements, it must have 1 to %d`, ErrFile, name, n, entriesMax)
	}
	parsers := make([]parser, len(list.Entries))
	votes := make(map[spiffeid.TrustDomain]int)
	for i, raw := range list.Entries {
		parsers[i] = parser{number: i + 1, reserved: reserved, entry: &spirev1.RegistrationEntry{}}
		parsers[i].decode(raw)
		if id, err := spiffeid.FromString(parsers[i].entry.SpiffeId); err == nil {
			votes[id.TrustDomain()]++
			if votes[id.TrustDomain()] > votes[f.TrustDomain] {
				f.TrustDomain = id.TrustDomain() // of most entries
			}
		}
	}
	known := seen{ids: make(map[string]int), similar: make(map[string]int)}
	for i, raw := range list.Entries {
		p := &parsers[i]
		if p.decoded {
			p.check(f.TrustDomain)
		}
		if len(p.problems) == 0 {
			p.identify(raw)
			p.checkSize()
		}
		if len(p.problems) == 0 {
			p.compare(known)
		}
		if len(p.problems) > 0 {
			f.Problems = append(f.Problems, p.problems...)
			continue
		}
		f.Entries = append(f.Entries, p.entry)
	}
	return f, nil
}

// seen are the well-formed entries so far: their numbers in the file.
type seen struct {
	ids     map[string]int
	similar map[string]int // by what similar ones share
}

// describe is err with the line that it is about.
func describe(data []byte, err error) string {
	switch {
	case bytes.HasPrefix(data, []byte{0xff, 0xfe}), bytes.HasPrefix(data, []byte{0xfe, 0xff}):
		return "it is in UTF-16; save it in UTF-8"
	case kindOf(data) == "a list":
		return `it is a list; write {"entries": [...]} around it`
	}
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	offset := int64(-1)
	switch {
	case errors.As(err, &syntax):
		offset = syntax.Offset
	case errors.As(err, &typ):
		offset = typ.Offset
	}
	if offset < 0 || offset > int64(len(data)) {
		return err.Error()
	}
	return fmt.Sprintf("line %d: %v", 1+bytes.Count(data[:offset], []byte("\n")), err)
}

// parser reads one entry.
type parser struct {
	number   int
	reserved string // what no id may begin with, or ""
	entry    *spirev1.RegistrationEntry
	problems []*Problem
	decoded  bool            // there are fields to check
	wrong    map[string]bool // those that have another type than they should
}

func (p *parser) report(field, format string, args ...any) {
	p.problems = append(p.problems, &Problem{Number: p.number, Field: field, Reason: fmt.Sprintf(format, args...)})
}

// identify gives an entry without an id one that follows from its text.
func (p *parser) identify(raw []byte) {
	if p.entry.EntryId == "" {
		sum := sha256.Sum256(raw)
		p.entry.EntryId = hex.EncodeToString(sum[:16])
	}
}

// compare refuses an entry that SPIRE would take for one before it.
func (p *parser) compare(known seen) {
	like := records.SimilarValue(p.entry)
	if first, dup := known.similar[like]; dup {
		p.report("", "has the same spiffe_id, parent_id and selectors as entry %d", first)
		return
	}
	if first, dup := known.ids[p.entry.EntryId]; dup {
		p.report("entry_id", "%q is that of entry %d too", p.entry.EntryId, first)
		return
	}
	known.similar[like], known.ids[p.entry.EntryId] = p.number, p.number
}

// decode reads the fields.
func (p *parser) decode(raw []byte) {
	if len(raw) > entryBytesMax {
		p.report("", "has %d bytes, the limit is %d", len(raw), entryBytesMax)
		return
	}
	if !utf8.Valid(raw) {
		p.report("", "is not valid UTF-8")
		return
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil || members == nil {
		p.report("", "is %s, must be an object", kindOf(raw))
		return
	}
	fromPrinted(members)
	p.wrong = make(map[string]bool)
	for _, field := range fieldsOf(p.entry) {
		if value, ok := members[field.name]; ok {
			p.decodeField(field.name, value, field.target)
		}
		delete(members, field.name)
	}
	p.reportUnknown(members)
	p.entry.RevisionNumber, p.entry.CreatedAt = 0, 0 // they are the server's to set
	p.decoded = true
}
