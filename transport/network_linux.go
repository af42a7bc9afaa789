package transport

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// unackedMax is how long data may stay unacknowledged before the connection
// ends. Without it that takes a quarter of an hour.
const unackedMax = 30 * time.Second

// boundUnacked sets unackedMax on a socket. Accepted sockets inherit it from
// their listener.
func boundUnacked(_, _ string, raw syscall.RawConn) error {
	var sockErr error
	err := raw.Control(func(fd uintptr) {
		sockErr = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unackedMax.Milliseconds()))
	})
	if err != nil {
		return err
	}
	return sockErr
}
