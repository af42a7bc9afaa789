package raftstore

import (
	"errors"

	"github.com/spire-raft/spire-raft/raftstore/internal/identity"
)

// Errors of data directories, from Init and Open. Test with errors.Is: they are
// wrapped with cause and cure.
var (
	// ErrNotInitialized: the directory is missing or empty. Run Init first.
	ErrNotInitialized = identity.ErrNotInitialized

	// ErrMismatch: the directory belongs to another cluster or node.
	ErrMismatch = identity.ErrMismatch

	// ErrForeignData: the directory holds files but no identity.
	ErrForeignData = identity.ErrForeignData

	// ErrNewerFormat: a later version of this software wrote the directory.
	ErrNewerFormat = identity.ErrNewerFormat

	// ErrPermissions: others than the owner can get at the directory.
	ErrPermissions = identity.ErrPermissions

	// ErrLocked: a live process uses the directory.
	ErrLocked = identity.ErrLocked
)

// Errors of membership. Those that another node has sent have its text.
var (
	// ErrNotMember: the node is not, or not yet, a member of the cluster.
	ErrNotMember = errors.New("not a member of the cluster")

	// ErrAlreadyMember: a node with this id is a member, on another disk. Had it
	// lost its disk, the one that joins would break promises that the old one
	// made. Remove the member, and join with a new node id.
	ErrAlreadyMember = errors.New("node id is of a member already")

	// ErrRemoved: the node was taken out of the cluster. It can't come back:
	// delete its data directory and Init a new one, with a new node id.
	ErrRemoved = errors.New("node was removed from the cluster")

	// ErrCopied: the data directory is a copy of one that was opened since, or is
	// in use, or an older state of it was put back. Delete it, unless it is the
	// last one: then remove the node and join with a new node id.
	ErrCopied = errors.New("data directory is a copy, or was put back to an older state")

	// ErrQuorumAtRisk: the change would leave the cluster without a quorum of
	// voters that answer. Bring voters back, or add some, before.
	ErrQuorumAtRisk = errors.New("too few voters would be left")

	// ErrClusterExists: a node was to bootstrap, but another node of the
	// cluster answers. Join it instead.
	ErrClusterExists = errors.New("the cluster exists already")

	// ErrSeedSilent: a node was to bootstrap, but a server that it should ask
	// before does not answer, so that nobody can tell whether there is a cluster.
	ErrSeedSilent = errors.New("a seed does not answer")

	// ErrRotationUnderWay: the cluster's authority is being replaced already. Wait
	// until that is done; see Status.Authority for the servers that it waits for.
	ErrRotationUnderWay = errors.New("a rotation of the authority is under way")

	// ErrSealed: the leader can't open the key of the cluster's authority, and so
	// issues nothing. Give it the AuthoritySeal of the others.
	ErrSealed = errors.New("the key of the authority can't be opened")

	// ErrToken: a join token that is malformed, unknown, expired, used by
	// another node, or of another cluster. Create a new one.
	ErrToken = errors.New("join token refused")
)
