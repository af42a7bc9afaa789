// Package datastoretest is the conformance suite of the DataStore: [Run] checks
// on any store that every method behaves as SPIRE expects, down to the texts of
// errors, the numbers in page tokens and the order of events.
//
// Each test names the rule that it pins. It gets a backend of its own, which it
// finds empty, and one DataStore on each of the backend's handles: what one
// writes the others must see.
package datastoretest
