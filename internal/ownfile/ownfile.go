// Package ownfile opens files that only this program makes, in a directory that
// others may have been able to write to.
package ownfile

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Open is [os.OpenFile], with mode 0600 for a file that it makes, but for a path
// that is a symbolic link, or anything but a regular file: that is an error which
// names the path and what helps. What a link leads to would be read, or written to,
// in place of the file, and a pipe would stop the process.
func Open(path string, flag int) (*os.File, error) {
	f, err := os.OpenFile(path, flag|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%s is a symbolic link, and should be a file that only this program makes: remove it: %w", path, err)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file (%s): remove it", path, info.Mode())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
