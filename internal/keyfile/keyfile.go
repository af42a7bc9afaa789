// Package keyfile reads files of keys and certificates: no more of them than is
// asked for, and no secret that everyone on the host could have read.
package keyfile

import (
	"fmt"
	"io"
	"os"
)

// Read returns at most bytesMax bytes of a file.
func Read(path string, bytesMax int64) ([]byte, error) {
	return read(path, bytesMax, func(os.FileInfo) error { return nil })
}

// ReadSecret is Read, and refuses a file that others than its owner and group can
// get at.
func ReadSecret(path string, bytesMax int64) ([]byte, error) {
	return read(path, bytesMax, func(info os.FileInfo) error {
		if mode := info.Mode().Perm(); mode&0o007 != 0 {
			return fmt.Errorf("key file %s has mode %04o, open to everyone on this host: make it 0600 or 0640, and the key a new one", path, mode)
		}
		return nil
	})
}

// read checks the file that it reads, whatever is put in its place meanwhile.
func read(path string, bytesMax int64, check func(os.FileInfo) error) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if err := check(info); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(file, bytesMax))
}
