// Package filelock keeps a second process, and a second part of the same one,
// away from what a file stands for. The lock ends with the process that holds
// it, however that ends.
//
// The file is to hold nothing else and to stay where it is: a lock on a file
// that was replaced keeps nobody out. It has the id of the last process that
// locked it, as a line of text, for the error that the next one gets.
package filelock

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spire-raft/spire-raft/internal/ownfile"
)

// ErrLocked: a live process holds the lock.
var ErrLocked = errors.New("in use by a live process")

// poll is the time between attempts.
const poll = 20 * time.Millisecond

// Lock locks the file at path, which it makes, for its owner only, where there
// is none. It waits for a process that is about to end, at most so long; zero
// means one attempt. Where the lock stays taken, the error wraps ErrLocked and
// names the file and, where it is known, the process. unlock may be called more
// than once.
//
// A path that is a symbolic link, or anything but a regular file, is an error:
// what it leads to would be overwritten, or stop the process.
func Lock(path string, wait time.Duration) (unlock func() error, err error) {
	f, err := ownfile.Open(path, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, err
	}
	if err := acquire(f, wait); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return sync.OnceValue(f.Close), nil
}

func acquire(f *os.File, wait time.Duration) error {
	deadline := time.Now().Add(wait)
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return writeHolder(f)
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EWOULDBLOCK):
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("%s is %w: %s holds it: stop it first", f.Name(), ErrLocked, holder(f))
		}
		time.Sleep(min(poll, left))
	}
}

// writeHolder leaves this process's id in the file. It needs no sync: the lock
// is what counts.
func writeHolder(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// holder names the process that wrote f.
func holder(f *os.File) string {
	b := make([]byte, 32)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "another process"
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	switch {
	case err != nil:
		return "another process"
	case pid == os.Getpid():
		return fmt.Sprintf("this process (%d)", pid)
	default:
		return fmt.Sprintf("process %d", pid)
	}
}
