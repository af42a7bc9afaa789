//go:build !linux

package cluster

import "syscall"

// childAttr keeps a terminal's Ctrl-C from the servers, which the parent stops.
// The group of its own is also what ends a paused server with its parent.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
