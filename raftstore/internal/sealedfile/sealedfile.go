// Package sealedfile keeps small JSON documents in files that are replaced
// atomically and whose every bit is covered by a checksum.
//
// A file is one line of JSON and one line with the CRC-32C of the first, in
// hexadecimal, newline of the first line included:
//
//	{"format":1,"cluster_id":"prod"}
//	crc32c 14b8e86b
//
// The checksum is verified before the JSON is looked at, so damage is never
// mistaken for a document of another format.
package sealedfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spire-raft/spire-raft/internal/ownfile"
	"github.com/spire-raft/spire-raft/store"
)

// BytesMax is the size of the largest file that Read accepts and Write makes.
const BytesMax = 1 << 20

// TempPattern is the [filepath.Match] pattern of the names of files that a
// Write which was killed leaves behind. They mean nothing.
const TempPattern = ".sealed-*.tmp"

const sealFormat = "crc32c %08x\n"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Write replaces the file at path by doc, readable by its owner only. When it
// returns nil the new file survives a power cut; on error the old one is
// intact or, where only the last sync failed, one of the two is there.
func Write(path string, doc any) error {
	line, err := json.Marshal(doc)
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	line = append(line, '\n')
	data := fmt.Appendf(line, sealFormat, crc32.Checksum(line, castagnoli))
	if len(data) > BytesMax {
		return fmt.Errorf("%s would have %d bytes, the limit is %d: %w", path, len(data), BytesMax, store.ErrTooLarge)
	}
	if err := replace(path, data); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// Read decodes the file at path into doc. It returns an error that wraps
// [store.ErrCorrupt] where the file is damaged or doc can't hold it, and one
// that wraps [fs.ErrNotExist] where it is missing. A symbolic link is not followed.
func Read(path string, doc any) error {
	line, err := readLine(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(line, doc); err != nil {
		return fmt.Errorf("%s: %w: %w", path, store.ErrCorrupt, err)
	}
	return nil
}

// SyncDir makes the names in dir durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// readLine returns the JSON of the file, checked.
func readLine(path string) ([]byte, error) {
	f, err := ownfile.Open(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, BytesMax+1))
	if err != nil {
		return nil, err
	}
	if len(data) > BytesMax {
		return nil, fmt.Errorf("%s has more than %d bytes: %w", path, BytesMax, store.ErrCorrupt)
	}
	end := bytes.IndexByte(data, '\n') + 1
	line, seal := data[:end], data[end:]
	if want := fmt.Sprintf(sealFormat, crc32.Checksum(line, castagnoli)); string(seal) != want {
		return nil, fmt.Errorf("%s fails its checksum: %w", path, store.ErrCorrupt)
	}
	return line, nil
}

// replace writes data to a new file, syncs it and renames it to path. The
// directory is synced last, since until then a power cut may undo the rename.
func replace(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, TempPattern) // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreMissing(os.Remove(f.Name())))
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return SyncDir(dir)
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
