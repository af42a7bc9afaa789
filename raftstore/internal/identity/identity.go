package identity

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spire-raft/spire-raft/raftstore/internal/sealedfile"
	"github.com/spire-raft/spire-raft/store"
)

// Format is the newest format of the identity file that this package knows. A
// file of a newer format is refused.
const Format = 1

const (
	fileName = "identity.json"
	lockName = "lock"
)

// Errors that callers act on; they are wrapped with cause and cure.
var (
	// ErrNotInitialized: the directory is missing or has neither identity nor data.
	ErrNotInitialized = errors.New("data directory is not initialized")

	// ErrMismatch: the directory belongs to another cluster or node.
	ErrMismatch = errors.New("data directory has another identity")

	// ErrForeignData: the directory holds files but no identity.
	ErrForeignData = errors.New("data directory holds data without an identity")

	// ErrNewerFormat: a newer version of this software wrote the directory.
	ErrNewerFormat = errors.New("data directory has a newer format")

	// ErrPermissions: others than the owner can get at the directory.
	ErrPermissions = errors.New("data directory is open to other users")
)

// Identity names the owner of a data directory.
type Identity struct {
	// Format is the version of the directory's format.
	Format int `json:"format"`

	ClusterID string `json:"cluster_id"`
	NodeID    string `json:"node_id"`

	// DiskID is random: it tells this directory from any other of the node.
	DiskID string `json:"disk_id"`
}

// Create makes dir the data directory of a node, durably, and returns its
// identity. An empty id is generated. Where dir has an identity already, Create
// changes nothing: it returns that identity if the ids given are equal or
// empty, and else ErrMismatch.
//
// Create refuses a directory that is locked (ErrLocked), that holds anything
// else (ErrForeignData) or that other users can get at (ErrPermissions).
func Create(dir, clusterID, nodeID string) (_ Identity, err error) {
	if err := checkGiven(clusterID, nodeID); err != nil {
		return Identity{}, err
	}
	if err := makeDir(dir); err != nil {
		return Identity{}, err
	}
	unlock, err := Lock(dir)
	if err != nil {
		return Identity{}, err
	}
	defer func() { err = errors.Join(err, unlock()) }()

	id, err := Load(dir)
	switch {
	case err == nil:
		return id, id.match(clusterID, nodeID)
	case !errors.Is(err, ErrNotInitialized):
		return Identity{}, err
	}
	id = Identity{Format: Format, ClusterID: orRandom(clusterID), NodeID: orRandom(nodeID), DiskID: orRandom("")}
	return id, sealedfile.Write(filepath.Join(dir, fileName), id)
}

// Load returns the identity of dir. It fails with ErrNotInitialized,
// ErrForeignData, ErrPermissions, ErrNewerFormat or, where the file is damaged,
// [store.ErrCorrupt].
func Load(dir string) (Identity, error) {
	if err := checkModes(dir); err != nil {
		return Identity{}, err
	}
	path := filepath.Join(dir, fileName)
	var id Identity
	err := sealedfile.Read(path, &id)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Identity{}, explainMissing(dir)
	case errors.Is(err, store.ErrCorrupt):
		return Identity{}, fmt.Errorf("identity: %w: restore the file from a copy, or replace the node: remove it "+
			"from the cluster and join again with an empty directory and a new node id", err)
	case err != nil:
		return Identity{}, fmt.Errorf("identity: %w", err)
	case id.Format > Format:
		return Identity{}, fmt.Errorf("%s has format %d, this version knows up to %d: %w: use the version that wrote it, or a later one",
			path, id.Format, Format, ErrNewerFormat)
	case id.Format < 1 || CheckID(id.ClusterID) != nil || CheckID(id.NodeID) != nil || CheckID(id.DiskID) != nil:
		return Identity{}, fmt.Errorf("%s: %w: it has a valid checksum but invalid ids", path, store.ErrCorrupt)
	}
	return id, nil
}

// match tells whether id is the identity that was asked for. Empty ids match
// everything.
func (id Identity) match(clusterID, nodeID string) error {
	if (clusterID == "" || clusterID == id.ClusterID) && (nodeID == "" || nodeID == id.NodeID) {
		return nil
	}
	return fmt.Errorf("%w: it belongs to node %q of cluster %q, not to node %q of cluster %q: use another directory, or those ids",
		ErrMismatch, id.NodeID, id.ClusterID, nodeID, clusterID)
}

// explainMissing tells a fresh directory from one whose identity got lost.
func explainMissing(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("identity: %w", err)
	}
	for _, e := range entries {
		if isOurs, _ := filepath.Match(sealedfile.TempPattern, e.Name()); isOurs || e.Name() == lockName || e.Name() == "lost+found" {
			continue
		}
		return fmt.Errorf("%s has no %s but has %q: %w: use an empty directory, or restore the identity file that belongs to the data",
			dir, fileName, e.Name(), ErrForeignData)
	}
	return fmt.Errorf("%s: %w: run Init first", dir, ErrNotInitialized)
}

func orRandom(id string) string {
	if id != "" {
		return id
	}
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return hex.EncodeToString(b[:])
}
