// Package devca is a throw-away certificate authority for tests. Its
// key lives in memory, and nothing is ever revoked: it is not for production.
package devca
