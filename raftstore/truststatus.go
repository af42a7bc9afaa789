package raftstore

import (
	"crypto/x509"
	"encoding/hex"
	"time"

	"github.com/hashicorp/raft"
)

// AuthorityStatus is the cluster's own authority as a node's state has it.
type AuthorityStatus struct {
	// NotAfter is when the authority that issues expires. It is replaced long
	// before.
	NotAfter time.Time

	// Rotation is the step that a rotation is at, empty where there is none.
	Rotation RotationStep

	// WaitsFor are the servers that the step waits for. The leader alone knows.
	WaitsFor []string
}

// AdmissionStatus is what a node was admitted with.
type AdmissionStatus struct {
	DiskID string

	// Key is the beginning of the SHA-256 of the node's public key, in hex.
	Key string

	// Index is that of the log entry that has admitted the node with this key.
	Index uint64
}

// keyShown is how many bytes of a key's hash a status shows.
const keyShown = 8

// trustStatus is what the state has of the authority and of this node's admission.
func (n *Node) trustStatus() (*AuthorityStatus, *AdmissionStatus) {
	view, err := n.machine.View()
	if err != nil {
		return nil, nil // the node has failed or closed, which the status tells
	}
	defer view.Close()
	var authority *AuthorityStatus
	if a, found, err := view.Authority(); err == nil && found {
		authority = &AuthorityStatus{Rotation: stepOf(a)}
		if cert, err := x509.ParseCertificate(a.Certificate); err == nil {
			authority.NotAfter = cert.NotAfter
		}
		if authority.Rotation != "" && n.raft.State() == raft.Leader {
			authority.WaitsFor = n.rotation.waitsFor()
		}
	}
	a, found, err := view.Admission(n.id.NodeID)
	if err != nil || !found {
		return authority, nil
	}
	return authority, &AdmissionStatus{DiskID: a.DiskID, Key: hex.EncodeToString(a.Key[:keyShown]), Index: a.Index}
}
