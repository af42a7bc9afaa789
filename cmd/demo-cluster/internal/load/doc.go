// Package load writes to the cluster of the demo through SPIRE's DataStore:
// bundles, agents and registration entries once, and then a steady mix of
// entries that are created, updated and deleted. What became of each write goes
// to a [check.Ledger]. Meanwhile simulated agents ask for their entries.
package load
