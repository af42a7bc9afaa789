// Package api is what a demo server and the program that started it say to each
// other: the setup that a server reads from its standard input, and the
// client API that it serves over HTTP.
//
// Every error of the store has a stable name on the wire and is the same error
// again on the other side, so that errors.Is works across processes.
package api
