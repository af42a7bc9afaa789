package entryfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
)

// field is a member of the JSON of an entry, and what it is read into.
type field struct {
	name   string
	target any
}

func fieldsOf(e *spirev1.RegistrationEntry) []field {
	return []field{
		{"entry_id", &e.EntryId},
		{"spiffe_id", &e.SpiffeId},
		{"parent_id", &e.ParentId},
		{"selectors", &e.Selectors},
		{"x509_svid_ttl", &e.X509SvidTtl},
		{"jwt_svid_ttl", &e.JwtSvidTtl},
		{"federates_with", &e.FederatesWith},
		{"admin", &e.Admin},
		{"downstream", &e.Downstream},
		{"entryExpiry", &e.EntryExpiry},
		{"dns_names", &e.DnsNames},
		{"revision_number", &e.RevisionNumber},
		{"store_svid", &e.StoreSvid},
		{"hint", &e.Hint},
		{"created_at", &e.CreatedAt},
		{"additional_attributes", &e.AdditionalAttributes},
	}
}

func (p *parser) decodeField(name string, value json.RawMessage, target any) {
	dec := json.NewDecoder(bytes.NewReader(value))
	dec.DisallowUnknownFields()
	err := dec.Decode(target)
	if err == nil {
		return
	}
	p.wrong[name] = true
	if typ, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if typ.Field != "" {
			name += "." + typ.Field
		}
		p.report(name, "is %s, must be %s", article(typ.Value), typeName(typ.Type))
		return
	}
	p.report(name, "%s", strings.TrimPrefix(err.Error(), "json: "))
}

// reportUnknown reports members that aren't fields of an entry. What SPIRE
// passes over in silence is a misspelt field, more often than not.
func (p *parser) reportUnknown(members map[string]json.RawMessage) {
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if name == "ttl" {
			p.report(name, "is of SPIRE before 1.5; write x509_svid_ttl and jwt_svid_ttl, it stood for both")
			continue
		}
		for _, f := range fieldsOf(p.entry) {
			if strings.EqualFold(plain(f.name), plain(name)) {
				p.report(name, "is not a field of an entry; write %s", f.name)
				name = ""
				break
			}
		}
		if name != "" {
			p.report(name, "is not a field of an entry")
		}
	}
}

func plain(name string) string { return strings.ReplaceAll(name, "_", "") }

// kindOf is what the JSON value raw is, in words.
func kindOf(raw []byte) string {
	switch raw = bytes.TrimSpace(raw); {
	case len(raw) == 0:
		return "nothing"
	case raw[0] == '"':
		return "a string"
	case raw[0] == '{':
		return "an object"
	case raw[0] == '[':
		return "a list"
	case raw[0] == 't', raw[0] == 'f':
		return "a boolean"
	case raw[0] == 'n':
		return "null"
	}
	return "a number"
}

// article is what package json found, in words.
func article(value string) string {
	switch value {
	case "object":
		return "an object"
	case "array":
		return "a list"
	case "bool":
		return "a boolean"
	case "string", "number":
		return "a " + value
	}
	return value // a number that does not fit, with its digits
}

// typeName is a Go type as who writes JSON knows it.
func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int32, reflect.Int64:
		return fmt.Sprintf("a whole number of at most %d bits", t.Bits()-1)
	case reflect.Slice:
		return "a list"
	}
	return "an object"
}
