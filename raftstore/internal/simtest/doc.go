// Package simtest judges what clients and watchers of a cluster have seen while
// it was being broken. It knows nothing of clusters: tests feed it with
// operations, watch streams and the final history, so that each check can be
// shown to fail on a history with a flaw.
//
// A [Recorder] collects. Every write puts its own id into each value it writes,
// so that the history tells which operation made which revision. Revisions
// make the check of linearizability linear in time: where the store says at
// which revision each operation took effect, it remains to be shown that the
// revisions respect real time and that what was read is what was there.
package simtest
