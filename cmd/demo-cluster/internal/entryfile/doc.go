// Package entryfile reads the JSON that "spire-server entry create -data" takes:
// an object with the member "entries", a list of registration entries. It also
// takes entries as "spire-server entry show -output json" prints them. It says
// of every entry that is malformed which fields are wrong, and why.
package entryfile
