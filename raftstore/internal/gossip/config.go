package gossip

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/spire-raft/spire-raft/raftstore/internal/identity"
	"github.com/spire-raft/spire-raft/store"
)

// KeyBytes is the size of the gossip key, which selects AES-256.
const KeyBytes = 32

const (
	// OtherKeysMax bounds the keys that decrypt only.
	OtherKeysMax = 4

	// SeedsMax bounds the seeds.
	SeedsMax = 64
)

// Config shapes a Gossip.
type Config struct {
	// NodeID and ClusterID are those of the data directory.
	NodeID    string
	ClusterID string

	// BindAddress is the "host:port" to listen on, with TCP and UDP. Port 0
	// takes a free one.
	BindAddress string

	// AdvertiseAddress is the "host:port" under which others reach
	// BindAddress. Host may be a DNS name; it is looked up at the start. Empty
	// means the address listened on, which must then be a single one. Port 0
	// means the port listened on.
	AdvertiseAddress string

	// Key, of KeyBytes bytes, encrypts what is sent. Nil means that Use tells
	// the keys later: until then Gossip keeps its port and nothing else.
	Key []byte

	// OtherKeys decrypt too what others send, up to OtherKeysMax.
	OtherKeys [][]byte

	// Seeds are gossip addresses, "host:port", of members to join through. A
	// DNS name stands for all the addresses it has. They are looked up and
	// joined again every RejoinInterval, so that a cluster that was split
	// finds together.
	Seeds []string

	// RejoinInterval is the time between joins. Zero means 30 s. Until a seed
	// has answered, joins are tried every second.
	RejoinInterval time.Duration

	// Address is what others shall dial to talk to this node: its transport
	// address, of up to AddressBytesMax bytes.
	Address string

	// OnAddress, if set, is told the address of another node when it is first
	// heard of, when it changes and when the node comes back. Calls come one
	// at a time, in no particular order among nodes, and none after Close has
	// returned. OnAddress must not call Close.
	OnAddress func(nodeID, address string)

	// Log gets what is worth knowing. Nil discards it.
	Log *slog.Logger
}

// validate fills in defaults and reports everything that is wrong.
func (c *Config) validate() error {
	var errs []error
	bad := func(field string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("gossip %s: %w", field, err))
		}
	}
	bad("NodeID", identity.CheckID(c.NodeID))
	bad("ClusterID", identity.CheckID(c.ClusterID))
	bad("BindAddress", checkHostPort(c.BindAddress))
	if c.AdvertiseAddress != "" {
		bad("AdvertiseAddress", checkHostPort(c.AdvertiseAddress))
	}
	if c.Key != nil {
		bad("Key", checkKey(c.Key))
	}
	if len(c.OtherKeys) > OtherKeysMax {
		bad("OtherKeys", fmt.Errorf("%w: %d keys, the limit is %d", store.ErrTooLarge, len(c.OtherKeys), OtherKeysMax))
	}
	for _, key := range c.OtherKeys {
		bad("OtherKeys", checkKey(key))
	}
	if len(c.Seeds) > SeedsMax {
		bad("Seeds", fmt.Errorf("%w: %d seeds, the limit is %d", store.ErrTooLarge, len(c.Seeds), SeedsMax))
	}
	for _, seed := range c.Seeds {
		bad("Seeds", checkHostPort(seed))
	}
	if c.RejoinInterval < 0 {
		bad("RejoinInterval", fmt.Errorf("%w: %v is negative", store.ErrInvalid, c.RejoinInterval))
	}
	bad("Address", checkAddress(c.Address))

	if c.RejoinInterval == 0 {
		c.RejoinInterval = 30 * time.Second
	}
	if c.OnAddress == nil {
		c.OnAddress = func(string, string) {}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return errors.Join(errs...)
}

func checkKey(key []byte) error {
	if len(key) != KeyBytes {
		return fmt.Errorf("%w: it has %d bytes, not %d: generate one with openssl rand -base64 %d",
			store.ErrInvalid, len(key), KeyBytes, KeyBytes)
	}
	return nil
}

func checkHostPort(address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%w: %q is not host:port: %w", store.ErrInvalid, address, err)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%w: %q needs a port from 0 to 65535", store.ErrInvalid, address)
	}
	return nil
}

func checkAddress(address string) error {
	if len(address) < 1 || len(address) > AddressBytesMax {
		return fmt.Errorf("%w: an address has 1 to %d bytes, not %d", store.ErrInvalid, AddressBytesMax, len(address))
	}
	return nil
}
