package entryfile

import (
	"fmt"
	"regexp"
	"strings"

	"golang.org/x/net/idna"
)

// dnsProfile is what SPIRE demands of a DNS name, besides that it is no
// punycode.
var dnsProfile = idna.New(
	idna.StrictDomainName(true),
	idna.ValidateLabels(true),
	idna.VerifyDNSLength(true),
	idna.CheckJoiners(true),
	idna.BidiRule(),
	idna.CheckHyphens(true),
)

// dnsNamePattern: the profile passes over characters that no label has.
var dnsNamePattern = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

// checkDNSNames refuses what SPIRE does: names of its own rules, and those that
// a wildcard of the same entry covers.
func (p *parser) checkDNSNames() {
	first := make(map[string]int)
	for i, name := range p.entry.DnsNames {
		at := fmt.Sprintf("dns_names[%d]", i)
		if why := dnsNameProblem(name); why != "" {
			p.report(at, "%q is not a DNS name: %s", name, why)
		} else if j, dup := first[name]; dup {
			p.report(at, "%q is dns_names[%d] once more", name, j)
		} else {
			first[name] = i
		}
	}
	for i, name := range p.entry.DnsNames {
		_, rest, _ := strings.Cut(name, ".")
		if j, covered := first["*."+rest]; covered && name != "*."+rest {
			p.report(fmt.Sprintf("dns_names[%d]", i), "%q is covered by dns_names[%d], %q; leave one out", name, j, "*."+rest)
		}
	}
}

// dnsNameProblem is what is wrong with a name, "" if nothing is.
func dnsNameProblem(name string) string {
	name = strings.TrimPrefix(name, "*.")
	switch {
	case name == "":
		return "it is empty"
	case strings.Contains(name, "*"):
		return "only its first label may be a wildcard"
	case strings.HasSuffix(name, "."):
		return "it must not end with a dot"
	}
	ascii, err := dnsProfile.ToASCII(name)
	if err != nil {
		return strings.TrimPrefix(err.Error(), "idna: ")
	}
	unicode, err := dnsProfile.ToUnicode(ascii)
	if err != nil {
		return strings.TrimPrefix(err.Error(), "idna: ")
	}
	if ascii != unicode {
		return "names of other alphabets are not taken"
	}
	if !dnsNamePattern.MatchString(name) {
		return "it has other characters than letters, digits, '-', '_' and '.'"
	}
	return ""
}
