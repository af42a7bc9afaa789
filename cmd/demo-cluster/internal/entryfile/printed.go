package entryfile

import (
	"encoding/json"
	"strings"
)

// renamed are the members that have another name in what "spire-server entry
// show -output json" prints.
var renamed = map[string]string{"id": "entry_id", "expires_at": "entryExpiry"}

// fromPrinted turns the members of an entry as SPIRE prints it into those of
// one as SPIRE reads it: other names, ids in two parts, and large numbers in
// strings. Whatever is not of that form stays as it is.
func fromPrinted(members map[string]json.RawMessage) {
	for printed, name := range renamed {
		if _, both := members[name]; !both && members[printed] != nil {
			members[name] = members[printed]
			delete(members, printed)
		}
	}
	for _, name := range []string{"spiffe_id", "parent_id"} {
		var id struct {
			TrustDomain string `json:"trust_domain"`
			Path        string `json:"path"`
		}
		if kindOf(members[name]) == "an object" && json.Unmarshal(members[name], &id) == nil && id.TrustDomain != "" {
			members[name], _ = json.Marshal("spiffe://" + id.TrustDomain + id.Path) // a string always can be
		}
	}
	for _, name := range []string{"entryExpiry", "revision_number", "created_at"} {
		var digits string
		if json.Unmarshal(members[name], &digits) == nil && digits != "" && strings.Trim(digits, "0123456789") == "" {
			members[name] = json.RawMessage(digits)
		}
	}
}
