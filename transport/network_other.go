//go:build !linux

package transport

import "syscall"

// boundUnacked leaves unackedMax to the system, which has no such option.
func boundUnacked(_, _ string, _ syscall.RawConn) error {
	_ = unackedMax
	return nil
}
