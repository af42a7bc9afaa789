// Package backend opens the replicated store of a demo server.
package backend
