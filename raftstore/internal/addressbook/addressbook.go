// Package addressbook remembers where nodes were last heard of, so that a
// restarted server finds its peers before gossip has. What it holds are hints:
// whoever dials an address from it must verify who answers.
package addressbook

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"sync"

	"github.com/spire-raft/spire-raft/raftstore/internal/sealedfile"
	"github.com/spire-raft/spire-raft/store"
)

// Limits of a book. What is over them is refused with [store.ErrTooLarge].
const (
	NodesMax        = 1024
	AddressBytesMax = 255
)

const (
	fileName = "addresses.json"
	format   = 1
)

type document struct {
	Format    int               `json:"format"`
	Addresses map[string]string `json:"addresses"`
}

// Book maps node ids to addresses. Its methods may be called concurrently.
type Book struct {
	path string

	mu        sync.Mutex // guards the field below and the file
	addresses map[string]string
}

// Open reads the book in dir. A book that can't be read is no loss worth
// stopping for: it is reported to log, and Open starts an empty one.
func Open(dir string, log *slog.Logger) *Book {
	b := &Book{path: filepath.Join(dir, fileName), addresses: map[string]string{}}
	var doc document
	err := sealedfile.Read(b.path, &doc)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		log.Warn("address book is unreadable, starting an empty one", "path", b.path, "error", err)
	case doc.Format != format:
		log.Warn("address book has an unknown format, starting an empty one", "path", b.path, "format", doc.Format)
	default:
		for id, address := range doc.Addresses {
			if check(id, address) == nil && len(b.addresses) < NodesMax {
				b.addresses[id] = address
			}
		}
	}
	return b
}

// Set remembers the address of a node and writes it to disk, unless it is the
// one already known. An empty address forgets the node. On a write error the
// book in memory is up to date all the same.
func (b *Book) Set(nodeID, address string) error {
	if err := check(nodeID, address); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	known, ok := b.addresses[nodeID]
	switch {
	case known == address:
		return nil
	case address == "":
		delete(b.addresses, nodeID)
	case !ok && len(b.addresses) >= NodesMax:
		return fmt.Errorf("address book has %d nodes: %w", NodesMax, store.ErrTooLarge)
	default:
		b.addresses[nodeID] = address
	}
	return sealedfile.Write(b.path, document{Format: format, Addresses: b.addresses})
}

// Keep forgets every node but those that keep picks, and writes the book to disk
// where there were others.
func (b *Book) Keep(keep func(nodeID string) bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := len(b.addresses)
	maps.DeleteFunc(b.addresses, func(id, _ string) bool { return !keep(id) })
	if len(b.addresses) == before {
		return nil
	}
	return sealedfile.Write(b.path, document{Format: format, Addresses: b.addresses})
}

// Get returns the address of a node, and whether it is known.
func (b *Book) Get(nodeID string) (string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	address, ok := b.addresses[nodeID]
	return address, ok
}

// All returns a copy of the book.
func (b *Book) All() map[string]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.addresses)
}

func check(nodeID, address string) error {
	if nodeID == "" || len(nodeID) > AddressBytesMax || len(address) > AddressBytesMax {
		return fmt.Errorf("node id and address have up to %d bytes, not %d and %d: %w",
			AddressBytesMax, len(nodeID), len(address), store.ErrTooLarge)
	}
	return nil
}
