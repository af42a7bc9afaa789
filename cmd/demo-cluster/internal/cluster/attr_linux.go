package cluster

import "syscall"

// childAttr keeps a terminal's Ctrl-C from the servers, which the parent stops,
// and ends them with the parent.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
