// Package check decides whether the cluster kept its promises. It compares what
// writers were told, which is in a [Ledger], with what watchers saw, which is
// in a [Stream] each, with the whole history of one server, and with what every
// server holds at the end.
//
// It knows nothing of how the cluster works: all it takes is the data.
package check
