// Package client talks to the servers of the demo, and tells apart what the
// checks depend on: writes that were acknowledged, writes that surely did not
// happen, and writes that may or may not have.
package client
