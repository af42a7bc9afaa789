// Package life keeps what a data directory knows of the life that it belongs to:
// the instance of its cluster, and the openings by which other nodes tell the
// process on this directory from one on a copy of it.
//
// Each Open of a node adds an opening with a random nonce before the node speaks
// to anybody. The cluster records it in its state, and from then on refuses
// whoever can't show it: a process on a copy has other openings since the copy
// was made. What the cluster has recorded last a directory may not know for
// sure, so it keeps, and shows, all that may have been.
package life

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"

	"github.com/spire-raft/spire-raft/raftstore/internal/sealedfile"
	"github.com/spire-raft/spire-raft/store"
)

// FileName is the file of a directory's life.
const FileName = "life.json"

const fileFormat = 1

// OpeningsMax is how many openings a directory keeps. A node that can't learn
// for so long what was recorded goes on with its last one, so that a copy of its
// directory is not told from it.
const OpeningsMax = 16

// Opening is one time that the directory was opened.
type Opening struct {
	Number uint64 `json:"number"` // from 1
	Nonce  Nonce  `json:"nonce"`

	// Asked tells that the cluster was asked to record it. One that never was
	// can't have been recorded.
	Asked bool `json:"asked,omitempty"`
}

// Nonce is random. Its text is in hex.
type Nonce [16]byte

// MarshalText implements [encoding.TextMarshaler].
func (n Nonce) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(n[:])), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (n *Nonce) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(n)) {
		return fmt.Errorf("a nonce of %d characters", len(text))
	}
	_, err := hex.Decode(n[:], text)
	return err
}

// file is the content of FileName.
type file struct {
	Format   int    `json:"format"`
	Instance string `json:"instance"`

	// Founding tells that this node founds the cluster, and has not told its
	// state yet.
	Founding bool `json:"founding,omitempty"`

	// Openings are the last one known to be recorded, or the first of all, and
	// those after it that may have been.
	Openings []Opening `json:"openings,omitempty"`
}

// Life is what a directory knows. Its methods may be called concurrently.
type Life struct {
	path string

	mu      sync.Mutex // guards content, whose openings are never changed in place
	content file
}

// Open reads the life of a data directory. One that belongs to no cluster yet
// has none, which is no error.
func Open(dir string) (*Life, error) {
	l := &Life{path: filepath.Join(dir, FileName)}
	switch err := sealedfile.Read(l.path, &l.content); {
	case errors.Is(err, fs.ErrNotExist):
		l.content = file{Format: fileFormat}
	case err != nil:
		return nil, err
	case l.content.Format > fileFormat:
		return nil, fmt.Errorf("%s has format %d, this version knows up to %d: use the version that wrote it, or a later one", l.path, l.content.Format, fileFormat)
	case l.content.Format < 1 || l.content.Instance == "" || len(l.content.Openings) > OpeningsMax || !rising(l.content.Openings):
		return nil, fmt.Errorf("%s: %w: it has a valid checksum but makes no sense", l.path, store.ErrCorrupt)
	}
	return l, nil
}

func rising(openings []Opening) bool {
	last := uint64(0)
	for _, o := range openings {
		if o.Number <= last {
			return false
		}
		last = o.Number
	}
	return true
}

// Instance is that of the cluster, empty as long as the directory belongs to
// none.
func (l *Life) Instance() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.content.Instance
}

// Founding tells whether this node founds the cluster and is not done with it.
func (l *Life) Founding() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.content.Founding
}

// Openings are those by which others may know this directory, the present one at
// the end. They belong to the Life.
func (l *Life) Openings() []Opening {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.content.Openings
}

// Enter makes the directory one of an instance, on disk when it returns nil. A
// directory that is of one already stays so.
func (l *Life) Enter(instance string, founding bool) error {
	return l.change(func(f *file) bool {
		if f.Instance != "" {
			return false
		}
		f.Instance, f.Founding = instance, founding
		return true
	})
}

// Founded notes that the cluster's state knows the instance.
func (l *Life) Founded() error {
	return l.change(func(f *file) bool {
		was := f.Founding
		f.Founding = false
		return was
	})
}

// Begin adds an opening, on disk when it returns nil, and forgets those that
// can't have been recorded.
func (l *Life) Begin() error {
	return l.change(func(f *file) bool {
		next := Opening{Number: 1}
		if n := len(f.Openings); n > 0 {
			next.Number = f.Openings[n-1].Number + 1
		}
		_, _ = rand.Read(next.Nonce[:]) // never fails, see its documentation
		var kept []Opening
		for i, o := range f.Openings {
			if i == 0 || o.Asked { // the first one tells which copies can't be of this directory
				kept = append(kept, o)
			}
		}
		if len(kept) < OpeningsMax {
			kept = append(kept, next)
		}
		f.Openings = kept
		return true
	})
}

// Ask notes, on disk, that the cluster is about to be asked to record the last
// opening, which it returns. There must be one.
func (l *Life) Ask() (last Opening, err error) {
	err = l.change(func(f *file) bool {
		i := len(f.Openings) - 1
		if last = f.Openings[i]; last.Asked {
			return false
		}
		f.Openings = slices.Clone(f.Openings)
		f.Openings[i].Asked = true
		return true
	})
	return last, err
}

// Recorded notes that the cluster has recorded an opening, and forgets those
// before it. One that is not known changes nothing.
func (l *Life) Recorded(o Opening) error {
	return l.change(func(f *file) bool {
		i := slices.IndexFunc(f.Openings, func(known Opening) bool { return known.Number == o.Number && known.Nonce == o.Nonce })
		if i < 0 || i == 0 && f.Openings[0].Asked {
			return false
		}
		f.Openings = slices.Clone(f.Openings[i:])
		f.Openings[0].Asked = true
		return true
	})
}

// change writes what fn has changed, if it says that it has. Where that fails
// nothing changes.
func (l *Life) change(fn func(f *file) bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := l.content
	if !fn(&next) {
		return nil
	}
	if err := sealedfile.Write(l.path, next); err != nil {
		return err
	}
	l.content = next
	return nil
}
