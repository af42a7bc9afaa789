// Package load writes to the cluster of the demo: registration entries once,
// and then a steady mix of new items and of counters that many clients
// increment. What became of each write goes to a [check.Ledger].
package load
