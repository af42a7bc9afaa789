package entryfile

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spire-raft/spire-raft/store"
)

// What SPIRE's API takes.
const (
	entryIDBytesMax = 255
	hintBytesMax    = 1024
)

var entryIDPattern = regexp.MustCompile(`^[A-Za-z0-9._-]*$`)

// check reports what SPIRE would not take, except for fields that could not be
// read.
func (p *parser) check(td spiffeid.TrustDomain) {
	for _, check := range []struct {
		field string
		run   func()
	}{
		{"entry_id", p.checkEntryID},
		{"spiffe_id", func() { p.entry.SpiffeId = p.checkID("spiffe_id", p.entry.SpiffeId, td) }},
		{"parent_id", func() { p.entry.ParentId = p.checkID("parent_id", p.entry.ParentId, td) }},
		{"selectors", p.checkSelectors},
		{"x509_svid_ttl", func() { p.checkNotNegative("x509_svid_ttl", int64(p.entry.X509SvidTtl)) }},
		{"jwt_svid_ttl", func() { p.checkNotNegative("jwt_svid_ttl", int64(p.entry.JwtSvidTtl)) }},
		{"federates_with", p.checkFederatesWith},
		{"entryExpiry", func() { p.checkNotNegative("entryExpiry", p.entry.EntryExpiry) }},
		{"dns_names", p.checkDNSNames},
		{"store_svid", p.checkStoreSVID},
		{"hint", p.checkHint},
	} {
		if !p.wrong[check.field] {
			check.run()
		}
	}
}

func (p *parser) checkEntryID() {
	id := p.entry.EntryId
	switch {
	case len(id) > entryIDBytesMax:
		p.report("entry_id", "has %d bytes, the limit is %d", len(id), entryIDBytesMax)
	case !entryIDPattern.MatchString(id):
		p.report("entry_id", "%q has other characters than letters, digits, '-', '.' and '_'", id)
	case p.reserved != "" && strings.HasPrefix(id, p.reserved):
		p.report("entry_id", "%q begins with %q, as the ids of the demo's own entries do", id, p.reserved)
	}
}

// checkID returns id in the form in which it is stored.
func (p *parser) checkID(field, id string, td spiffeid.TrustDomain) string {
	if id == "" {
		p.report(field, "is missing")
		return id
	}
	parsed, err := spiffeid.FromString(id)
	if err != nil {
		p.report(field, "%q is not a SPIFFE ID: %v", id, err)
		return id
	}
	switch {
	case !td.IsZero() && !parsed.MemberOf(td): // it is zero where no entry has one
		p.report(field, "%q is not in the trust domain %q, as most entries are", id, td.Name())
	case parsed.Path() == "":
		p.report(field, "%q names a trust domain, it must have a path", id)
	}
	return parsed.String()
}

func (p *parser) checkSelectors() {
	if len(p.entry.Selectors) == 0 {
		p.report("selectors", "there must be at least one")
	}
	first := make(map[[2]string]int)
	for i, s := range p.entry.Selectors {
		at := fmt.Sprintf("selectors[%d]", i)
		if s == nil {
			p.report(at, "is null, must be an object with type and value")
			continue
		}
		if s.Type == "" || s.Value == "" {
			p.report(at, "type and value must not be empty")
			continue
		}
		if strings.Contains(s.Type, ":") {
			p.report(at, "type %q must not have a colon", s.Type)
			continue
		}
		key := [2]string{s.Type, s.Value}
		if j, dup := first[key]; dup {
			p.report(at, "%q is selectors[%d] once more", s.Type+":"+s.Value, j)
			continue
		}
		first[key] = i
	}
}

func (p *parser) checkNotNegative(field string, n int64) {
	if n < 0 {
		p.report(field, "is %d, must not be negative", n)
	}
}

// checkFederatesWith brings the trust domains into the form in which they are
// stored.
func (p *parser) checkFederatesWith() {
	for i, name := range p.entry.FederatesWith {
		td, err := spiffeid.TrustDomainFromString(name)
		if err != nil {
			p.report(fmt.Sprintf("federates_with[%d]", i), "%q is not a trust domain: %v", name, err)
			continue
		}
		p.entry.FederatesWith[i] = td.IDString()
	}
}

func (p *parser) checkStoreSVID() {
	if !p.entry.StoreSvid {
		return
	}
	for _, s := range p.entry.Selectors {
		if s != nil && p.entry.Selectors[0] != nil && s.Type != p.entry.Selectors[0].Type {
			p.report("store_svid", "needs selectors of one type, there are %q and %q", p.entry.Selectors[0].Type, s.Type)
			break
		}
	}
	if p.entry.AdditionalAttributes.GetDisableX509SvidPrefetch() {
		p.report("store_svid", "does not go with additional_attributes.disable_x509_svid_prefetch")
	}
}

func (p *parser) checkHint() {
	if n := len(p.entry.Hint); n > hintBytesMax {
		p.report("hint", "has %d bytes, the limit is %d", n, hintBytesMax)
	}
}

// checkSize refuses an entry whose creation would not fit into one transaction:
// each selector and trust domain is an index record of its own, with the id.
func (p *parser) checkSize() {
	const (
		opsMin     = 10 // the entry, SPIRE's event, and the indexes with one value
		bytesPerOp = 80 // besides the id and the value of the field
	)
	e := p.entry
	text := len(e.SpiffeId) + len(e.ParentId) + len(e.Hint)
	for _, s := range e.Selectors {
		text += len(s.Type) + len(s.Value)
	}
	for _, s := range slices.Concat(e.FederatesWith, e.DnsNames) {
		text += len(s)
	}
	ops := opsMin + len(e.Selectors) + len(e.FederatesWith)
	if bytes := ops*(bytesPerOp+len(e.EntryId)) + 4*text; bytes > store.TxBytesMax || ops > store.TxOpsMax {
		p.report("", "has %d selectors and %d trust domains, which is too much for one transaction: about %d bytes, the limit is %d",
			len(e.Selectors), len(e.FederatesWith), bytes, store.TxBytesMax)
	}
}
