// Package testdata holds the fixtures that more than one package uses.
//
// registration-entries.json has the registration entries of a made-up freight
// company, in the form that "spire-server entry create -data FILE" takes:
// several Kubernetes clusters, virtual machines, build machines and the gateways
// of its depots, with node aliases, nested servers, administrators and partners
// in other trust domains.
package testdata

import _ "embed" // for the fixtures

//go:embed registration-entries.json
var registrationEntries string

// RegistrationEntries returns the content of registration-entries.json: a JSON
// object with the member "entries", an array of about 300 SPIRE registration
// entries. Each has an entry_id of its own and at least one selector, and no two
// have the same SPIFFE ID, parent and selectors. The bytes belong to the caller.
func RegistrationEntries() []byte { return []byte(registrationEntries) }
