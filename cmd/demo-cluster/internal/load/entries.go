package load

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
)

// Limits on what an entry may hold, well within those of the store, whose
// errors could not name the entry.
const (
	fieldBytesMax = 4 << 10
	entryBytesMax = 256 << 10
	entriesMax    = 100_000
)

// ErrEntries: the file is not what "spire-server entry create -data" takes.
var ErrEntries = errors.New("bad registration entries")

// Entry is a registration entry as an item with indexes.
type Entry struct {
	ID      string
	Indexes []api.Index
	Body    json.RawMessage
}

// entryFields are the fields of a registration entry that the demo looks at.
// The others are stored as they are.
type entryFields struct {
	EntryID   string `json:"entry_id"`
	SpiffeID  string `json:"spiffe_id"`
	ParentID  string `json:"parent_id"`
	Hint      string `json:"hint"`
	Selectors []struct {
		Type  string `json:"type"`
		Value string `json:"value"`
	} `json:"selectors"`
	FederatesWith []string `json:"federates_with"`
}

// ParseEntries reads the JSON that "spire-server entry create -data" takes: an
// object with the member "entries". Errors name the file, the entry, counted
// from 1, and the field.
func ParseEntries(file string, data []byte) ([]Entry, error) {
	var list struct {
		Entries []json.RawMessage `json:"entries"`
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("%w: %s: %s", ErrEntries, file, describe(data, err))
	}
	if n := len(list.Entries); n == 0 || n > entriesMax {
		return nil, fmt.Errorf(`%w: %s: "entries" has %d elements, it must have 1 to %d`, ErrEntries, file, n, entriesMax)
	}
	out := make([]Entry, 0, len(list.Entries))
	numbers := make(map[string]int)
	for i, raw := range list.Entries {
		e, err := parseEntry(raw)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: entry %d: %w", ErrEntries, file, i+1, err)
		}
		if first, dup := numbers[e.ID]; dup {
			return nil, fmt.Errorf("%w: %s: entry %d: entry_id %q is that of entry %d too", ErrEntries, file, i+1, e.ID, first)
		}
		numbers[e.ID] = i + 1
		out = append(out, e)
	}
	return out, nil
}

// describe is err with the line that it is about.
func describe(data []byte, err error) string {
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

func parseEntry(raw json.RawMessage) (Entry, error) {
	var f entryFields
	if err := json.Unmarshal(raw, &f); err != nil {
		var typ *json.UnmarshalTypeError
		if errors.As(err, &typ) && typ.Field != "" {
			return Entry{}, fmt.Errorf("%s: is a %s, must be a %s", typ.Field, typ.Value, typ.Type)
		}
		return Entry{}, err
	}
	if len(raw) > entryBytesMax {
		return Entry{}, fmt.Errorf("has %d bytes, the limit is %d", len(raw), entryBytesMax)
	}
	indexes, err := f.indexes()
	if err != nil {
		return Entry{}, err
	}
	if f.EntryID == "" {
		sum := sha256.Sum256(raw)
		f.EntryID = hex.EncodeToString(sum[:16])
	}
	if err := checkField("entry_id", f.EntryID); err != nil {
		return Entry{}, err
	}
	return Entry{ID: f.EntryID, Indexes: indexes, Body: raw}, nil
}

// indexes are what an entry is found by.
func (f *entryFields) indexes() ([]api.Index, error) {
	for _, id := range []struct{ field, value string }{{"spiffe_id", f.SpiffeID}, {"parent_id", f.ParentID}} {
		switch {
		case id.value == "":
			return nil, fmt.Errorf("%s: is missing", id.field)
		case !strings.HasPrefix(id.value, "spiffe://"):
			return nil, fmt.Errorf("%s: %q does not begin with spiffe://", id.field, id.value)
		}
	}
	if len(f.Selectors) == 0 {
		return nil, errors.New("selectors: there must be at least one")
	}
	out := []api.Index{{Field: "spiffe_id", Value: f.SpiffeID}, {Field: "parent_id", Value: f.ParentID}}
	for i, s := range f.Selectors {
		if s.Type == "" || s.Value == "" {
			return nil, fmt.Errorf("selectors[%d]: type and value must not be empty", i)
		}
		out = append(out, api.Index{Field: "selector", Value: s.Type + ":" + s.Value})
	}
	for _, domain := range f.FederatesWith {
		out = append(out, api.Index{Field: "federates_with", Value: domain})
	}
	if f.Hint != "" {
		out = append(out, api.Index{Field: "hint", Value: f.Hint})
	}
	seen := make(map[api.Index]bool)
	for _, ix := range out {
		if err := checkField(ix.Field, ix.Value); err != nil {
			return nil, err
		}
		if seen[ix] {
			return nil, fmt.Errorf("%s: %q occurs twice", ix.Field, ix.Value)
		}
		seen[ix] = true
	}
	return out, nil
}

func checkField(field, value string) error {
	if len(value) > fieldBytesMax {
		return fmt.Errorf("%s: has %d bytes, the limit is %d", field, len(value), fieldBytesMax)
	}
	return nil
}
