package raftstore

import (
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spire-raft/spire-raft/raftstore/internal/authority"
	"github.com/spire-raft/spire-raft/raftstore/internal/logstore"
	"github.com/spire-raft/spire-raft/transport"
)

// Config says how to open a node. Dir and ListenAddress are
// required; the zero value of every other field means what its comment says.
type Config struct {
	// Dir is the data directory that Init prepared. One process at a time has
	// it open.
	Dir string

	// Credentials supply the node's certificate, which names the cluster and
	// node of Dir, and the authorities that peers are checked against. They
	// are asked at each handshake, so they may change while the node runs.
	//
	// Nil means that the cluster is its own authority: the first node makes
	// one, others get their certificate when they join, and it is renewed
	// without anybody's doing. The names are of the trust domain
	// <cluster id>.raft.internal. It is the same for all nodes of a cluster.
	Credentials transport.Credentials

	// CertificateLifetime is that of the node certificates which this node
	// issues while it leads a cluster that is its own authority. Each is renewed
	// when two thirds of it are over. It is between 1 s and 365 days. Zero means
	// 30 days.
	CertificateLifetime time.Duration

	// AuthoritySeal encrypts the key of the cluster's own authority where it is
	// stored: in the state of every node, in snapshots, in backups. All nodes of a
	// cluster need the same one; one that has another, or none, goes on, but
	// issues no certificates while it leads. Nil means that the key is stored in
	// plain, and read in plain. To begin with a seal, to change it or to end it,
	// give all nodes the new one, and then call RotateAuthority.
	AuthoritySeal AuthoritySeal

	// ListenAddress is the host:port for all traffic between nodes but gossip.
	// Port 0 takes a free one.
	ListenAddress string

	// AdvertiseAddress is where other nodes reach this one. Empty means the
	// address listened on, which then must not be a wildcard. It may differ
	// from one Open to the next.
	AdvertiseAddress string

	// Network carries the streams. Nil means TCP.
	Network transport.Network

	// Gossip spreads addresses and liveness. Nil means none: addresses are
	// then learned from the leader alone.
	Gossip *GossipConfig

	// Bootstrap makes this node the first of a new cluster. It does nothing
	// where Dir already belongs to one. Exactly one node of a cluster is ever
	// opened with it. It is refused with ErrClusterExists where a server at one
	// of Seeds, at an address that Dir knows, or that gossip tells of is a member
	// of the cluster: then this node has lost its disk. Where a server at one of
	// Seeds or in Dir doesn't answer it is refused with ErrSeedSilent.
	Bootstrap bool

	// BootstrapAnyway makes Bootstrap ask nobody. What a cluster that exists
	// holds is given up: its nodes must never run again.
	BootstrapAnyway bool

	// Seeds are listen addresses, as host:port, of other servers of the cluster,
	// known ones or ones that are to join, up to 64. Bootstrap asks them whether
	// there is a cluster; those that are to join must be waiting for it then.
	// Later they help this node to find servers that have all moved. Its own
	// address among them is passed over where it is written in the same way.
	Seeds []string

	// Join takes the node into an existing cluster. It does nothing where Dir
	// already belongs to one.
	Join *JoinConfig

	// Timing has the timeouts of raft. The zero value suits a local network.
	Timing Timing

	// RequestTimeout bounds calls whose context has no deadline. Zero means
	// 10 s.
	RequestTimeout time.Duration

	// HistoryBytesMax is the byte budget of the history that watchers resume
	// from. It is replicated: the leader's setting counts. Zero keeps what the
	// cluster has, 128 MiB in a new one.
	HistoryBytesMax uint64

	// WatchersMax bounds the open watchers. Zero means 1,024.
	WatchersMax int

	// ProgressInterval is the time between progress marks of a watcher of an
	// idle store (a mark for changes that it didn't ask for comes at once),
	// at most store.ProgressIntervalMax. Zero means 1 s.
	ProgressInterval time.Duration

	// ScrubInterval is the time between checks of the whole state against its
	// checksums and its hash. Zero means 1 h, negative never.
	ScrubInterval time.Duration

	// Disk says when the disk counts as full.
	Disk DiskConfig

	// Log compaction: see LogConfig.
	Log LogConfig

	// Logger takes the node's log. Nil means slog.Default().
	Logger *slog.Logger

	// Registerer takes the node's metrics. Nil means none are registered.
	Registerer prometheus.Registerer

	// wrapLog is where tests put faults of the disk, see logstore.Options.
	wrapLog func(logstore.Backend) logstore.Backend

	// authorityLifetime is that of the authorities that this node makes. Zero means
	// authority.Lifetime. Tests shorten it.
	authorityLifetime time.Duration

	// beforeRenewal is where tests hold up the renewal of the certificate. An error
	// is one of the renewal. Nil is nothing.
	beforeRenewal func() error

	// gossipKeyWait is that of the constant. Zero means it. Tests shorten it.
	gossipKeyWait time.Duration

	// beforeApply is where tests hold up the state machine.
	beforeApply func()
}

// GossipConfig says how a node gossips. What it sends is encrypted, and labelled
// with the cluster id.
type GossipConfig struct {
	// BindAddress is the host:port to listen on, for UDP and TCP.
	BindAddress string

	// AdvertiseAddress is where other nodes reach it. Empty means BindAddress.
	AdvertiseAddress string

	// Key is a gossip key of 32 bytes, the same on all nodes. Empty means that
	// the cluster makes its own: members alone get it, with the state, it is
	// replaced after each removal of a server, every 30 days and by
	// RotateGossipKey, and gossip of other instances of the cluster is not
	// heard. A node then begins to gossip when it is a member. A key is
	// only needed where gossip is to help before that.
	Key []byte

	// OtherKeys, up to 4, decrypt what others send besides Key. They are for
	// replacing Key without a stop: restart all nodes with the new key among
	// OtherKeys, then all with it as Key and the old one among OtherKeys, then
	// without the old one.
	OtherKeys [][]byte

	// Seeds are gossip addresses of some other nodes, as host:port; host may be
	// a DNS name, and is looked up again from time to time.
	Seeds []string
}

// JoinConfig says how a node gets into its cluster.
type JoinConfig struct {
	// Addresses are listen addresses of some nodes of the cluster.
	Addresses []string

	// Token is a single-use token of CreateJoinToken.
	Token string
}

// Timing has raft's timeouts. A disk that stalls, or a process that is not
// scheduled, for longer than HeartbeatTimeout costs an election.
type Timing struct {
	// HeartbeatTimeout is how long a follower waits for its leader before it
	// starts an election, within a factor of two. Zero means 500 ms.
	HeartbeatTimeout time.Duration

	// ElectionTimeout is how long a candidate waits for votes, within a factor
	// of two. At least HeartbeatTimeout. Zero means HeartbeatTimeout.
	ElectionTimeout time.Duration

	// LeaderLeaseTimeout is how long a leader without contact to a quorum goes
	// on before it steps down. At most HeartbeatTimeout, which zero means.
	LeaderLeaseTimeout time.Duration

	// PromoteAfter is how long a joined node must have been caught up before
	// it gets a vote. Zero means 10 s.
	PromoteAfter time.Duration

	// FreshnessInterval is the time between the confirmations, in the
	// background, that this node's data is fresh. It is the least staleness
	// that is served without asking the leader. Zero means 500 ms.
	FreshnessInterval time.Duration
}

// LogConfig bounds the replicated log on disk, in entries and in bytes: the bound
// that is reached first counts. On a small disk fewer bytes are kept, a 16th of
// what is free, and where less than twice the reserve is free none but the last 64
// entries.
type LogConfig struct {
	// TrailingEntries are kept behind the applied state, so that a follower
	// that lags by less needs no snapshot. At least 64; zero means 10,240.
	TrailingEntries uint64

	// CompactEntries more than that start a compaction. Zero means 8,192.
	CompactEntries uint64

	// TrailingBytes are what the trailing entries take at most, but for the last
	// 64, which are kept whatever their size. A follower that receives the whole
	// state must not fall behind by more meanwhile. Zero means 256 MiB.
	TrailingBytes uint64

	// CompactBytes more than that start a compaction. Zero means 64 MiB.
	CompactBytes uint64
}

// DiskConfig says when a node's disk counts as full.
type DiskConfig struct {
	// ReserveBytes is the free space below which writes that add data are
	// refused in the whole cluster with store.ErrNoSpace. Reads and deletes go
	// on. What the node's own files can take without getting larger counts as
	// free: for log and state each up to half of the reserve. Zero means 256 MiB.
	ReserveBytes uint64

	// Free returns the free bytes of the file system that holds dir. Nil means
	// to ask the system.
	Free func(dir string) (uint64, error)
}

// withDefaults returns c with its zero fields filled in.
func (c Config) withDefaults() Config {
	def(&c.Timing.HeartbeatTimeout, 500*time.Millisecond)
	def(&c.Timing.ElectionTimeout, c.Timing.HeartbeatTimeout)
	def(&c.Timing.LeaderLeaseTimeout, c.Timing.HeartbeatTimeout)
	def(&c.Timing.PromoteAfter, 10*time.Second)
	def(&c.Timing.FreshnessInterval, 500*time.Millisecond)
	def(&c.RequestTimeout, 10*time.Second)
	def(&c.WatchersMax, 1024)
	def(&c.ProgressInterval, time.Second)
	def(&c.ScrubInterval, time.Hour)
	def(&c.Disk.ReserveBytes, 256<<20)
	def(&c.CertificateLifetime, 30*24*time.Hour)
	def(&c.authorityLifetime, authority.Lifetime)
	if c.beforeRenewal == nil {
		c.beforeRenewal = func() error { return nil }
	}
	def(&c.gossipKeyWait, gossipKeyWait)
	def(&c.Log.TrailingEntries, 10_240)
	def(&c.Log.CompactEntries, 8_192)
	def(&c.Log.TrailingBytes, 256<<20)
	def(&c.Log.CompactBytes, 64<<20)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
