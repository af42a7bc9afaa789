// Package identity says whose a data directory is: the file that names cluster
// and node, and the lock that keeps a second process out.
//
// The identity is the first thing written to a directory and never changes. A
// node id belongs to one disk: a server that comes back under its old id with
// an empty disk has forgotten the votes and entries that others count on, and
// can thereby lose committed entries. So a new disk needs a new id, and a
// directory that holds data but no identity is refused.
package identity
