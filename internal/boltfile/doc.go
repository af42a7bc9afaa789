// Package boltfile lets bbolt work on files that may be damaged.
//
// bbolt maps its file into memory and follows what it finds there: a truncated
// file kills the process, a page that points to one above it never ends, and an
// element that was lost from a page is missed by nobody. Its own check of a file
// runs in a goroutine, where no caller can recover from the panic or the fault
// that damage causes.
//
// So [Check] verifies a file before bbolt opens it, and [Guard] stands around
// every call of bbolt afterwards, since a disk can also fail later.
package boltfile
