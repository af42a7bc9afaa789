package raftstore_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/raftstore"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/transport"
)

// badConfigs has a wrong value for every field that can have one, and what the
// error must name.
var badConfigs = map[string]struct {
	change func(*raftstore.Config)
	names  string
}{
	"no directory":               {func(c *raftstore.Config) { c.Dir = "" }, "Dir is empty"},
	"no listen address":          {func(c *raftstore.Config) { c.ListenAddress = "" }, `ListenAddress ""`},
	"a listen address of a host": {func(c *raftstore.Config) { c.ListenAddress = "host" }, `ListenAddress "host"`},
	"an address without a port":  {func(c *raftstore.Config) { c.AdvertiseAddress = "host:" }, `AdvertiseAddress "host:"`},
	"too many seeds":             {func(c *raftstore.Config) { c.Seeds = slices.Repeat([]string{"host:1"}, 65) }, "Seeds has 65 addresses"},
	"a seed without a port":      {func(c *raftstore.Config) { c.Seeds = []string{"host"} }, `Seeds has "host"`},
	"a seal of another's key":    {func(c *raftstore.Config) { c.AuthoritySeal = &raftstore.FileSeal{} }, "AuthoritySeal and Credentials"},
	"two ways into a cluster":    {func(c *raftstore.Config) { c.Bootstrap = true }, "Bootstrap and Join"},
	"nobody to join through":     {func(c *raftstore.Config) { c.Join.Addresses = nil }, "Join.Addresses is empty"},
	"nobody at an address":       {func(c *raftstore.Config) { c.Join.Addresses = []string{"host"} }, `Join.Addresses has "host"`},
	"no token":                   {func(c *raftstore.Config) { c.Join.Token = "" }, "Join.Token is empty"},
	"no gossip address":          {func(c *raftstore.Config) { c.Gossip.BindAddress = "" }, `Gossip.BindAddress ""`},
	"a gossip host alone":        {func(c *raftstore.Config) { c.Gossip.AdvertiseAddress = "host" }, `Gossip.AdvertiseAddress "host"`},
	"a gossip seed of no port":   {func(c *raftstore.Config) { c.Gossip.Seeds = []string{"host"} }, `Gossip.Seeds has "host"`},
	"a short gossip key":         {func(c *raftstore.Config) { c.Gossip.Key = value(16) }, "Gossip.Key has 16 bytes"},
	"a short other gossip key":   {func(c *raftstore.Config) { c.Gossip.OtherKeys = [][]byte{value(16)} }, "Gossip.OtherKeys has a key of 16 bytes"},
	"too many other gossip keys": {func(c *raftstore.Config) { c.Gossip.OtherKeys = slices.Repeat([][]byte{value(32)}, 5) }, "Gossip.OtherKeys has 5 keys"},
	"other keys of its own":      {func(c *raftstore.Config) { c.Gossip.Key, c.Gossip.OtherKeys = nil, [][]byte{value(32)} }, "Gossip.OtherKeys need a Gossip.Key"},
	"hasty heartbeats": {func(c *raftstore.Config) {
		c.Timing = raftstore.Timing{HeartbeatTimeout: time.Millisecond}
	}, "HeartbeatTimeout 1ms"},
	"negative heartbeats": {func(c *raftstore.Config) {
		c.Timing = raftstore.Timing{HeartbeatTimeout: -time.Second}
	}, "HeartbeatTimeout -1s"},
	"elections that are too short":  {func(c *raftstore.Config) { c.Timing.ElectionTimeout = 999 * time.Millisecond }, "ElectionTimeout 999ms"},
	"a lease that is too long":      {func(c *raftstore.Config) { c.Timing.LeaderLeaseTimeout = 1001 * time.Millisecond }, "LeaderLeaseTimeout 1.001s"},
	"a log that is too short":       {func(c *raftstore.Config) { c.Log.TrailingEntries = 63 }, "TrailingEntries 63"},
	"a negative number of watchers": {func(c *raftstore.Config) { c.WatchersMax = -1 }, "WatchersMax -1"},
	"certificates that end at once": {func(c *raftstore.Config) { c.CertificateLifetime = 999 * time.Millisecond }, "CertificateLifetime 999ms"},
	"certificates without an end":   {func(c *raftstore.Config) { c.CertificateLifetime = 366 * 24 * time.Hour }, "CertificateLifetime 8784h"},
	"a vote before it is earned":    {func(c *raftstore.Config) { c.Timing.PromoteAfter = -1 }, "PromoteAfter -1ns"},
	"a negative freshness":          {func(c *raftstore.Config) { c.Timing.FreshnessInterval = -1 }, "FreshnessInterval -1ns"},
	"requests without time":         {func(c *raftstore.Config) { c.RequestTimeout = -1 }, "RequestTimeout -1ns"},
	"marks without a pause":         {func(c *raftstore.Config) { c.ProgressInterval = -1 }, "ProgressInterval -1ns"},
	"marks that are too rare": {func(c *raftstore.Config) {
		c.ProgressInterval = store.ProgressIntervalMax + 1
	}, "ProgressInterval 5.000000001s"},
}

// goodConfig sets every field that can be wrong.
func goodConfig(t *testing.T) raftstore.Config {
	t.Helper()
	return raftstore.Config{
		Dir:              t.TempDir(),
		Credentials:      &transport.Bundle{},
		ListenAddress:    "127.0.0.1:0",
		AdvertiseAddress: "node-1.example.org:7000",
		Gossip:           &raftstore.GossipConfig{BindAddress: "127.0.0.1:0", Key: value(32)},
		Join:             &raftstore.JoinConfig{Addresses: []string{"node-2.example.org:7000"}, Token: "token"},
		Timing: raftstore.Timing{
			HeartbeatTimeout: time.Second, ElectionTimeout: time.Second, LeaderLeaseTimeout: time.Second,
		},
		CertificateLifetime: time.Second,
		WatchersMax:         1,
		ProgressInterval:    store.ProgressIntervalMax,
		ScrubInterval:       -1,
		Log:                 raftstore.LogConfig{TrailingEntries: 64, CompactEntries: 64},
	}
}

func TestConfig_RefusesBadValues(t *testing.T) {
	good := goodConfig(t)
	if err := good.Validate(); err != nil {
		t.Fatalf("a config at its limits: %v", err)
	}
	for name, tc := range badConfigs {
		t.Run(name, func(t *testing.T) {
			cfg := goodConfig(t)
			tc.change(&cfg)
			err := cfg.Validate()
			if err == nil || !strings.Contains(err.Error(), tc.names) || strings.Count(err.Error(), "\n") > 0 {
				t.Errorf("got error %q, want one that names %q and nothing else", err, tc.names)
			}
			if n, openErr := raftstore.Open(t.Context(), cfg); openErr == nil || openErr.Error() != err.Error() {
				t.Errorf("Open: got %v and error %v, want %v", n, openErr, err)
			}
		})
	}
}

func TestConfig_ReportsAllProblemsAtOnce(t *testing.T) {
	cfg := raftstore.Config{
		ListenAddress:    "host",
		AdvertiseAddress: "host",
		Bootstrap:        true,
		Join:             &raftstore.JoinConfig{},
		Gossip:           &raftstore.GossipConfig{Key: []byte("short"), OtherKeys: [][]byte{nil}},
		Timing: raftstore.Timing{
			HeartbeatTimeout: time.Millisecond, ElectionTimeout: time.Microsecond, LeaderLeaseTimeout: time.Second,
			PromoteAfter: -1, FreshnessInterval: -1,
		},
		RequestTimeout:      -1,
		CertificateLifetime: -1,
		WatchersMax:         -1,
		ProgressInterval:    -1,
		Log:                 raftstore.LogConfig{TrailingEntries: 1},
	}
	err := cfg.Validate()
	if err == nil {
		t.Fatal("there is no error")
	}
	for _, field := range []string{
		"Dir", "ListenAddress", "AdvertiseAddress", "Bootstrap", "Join.Addresses", "Join.Token", "Gossip.BindAddress",
		"Gossip.Key", "Gossip.OtherKeys", "HeartbeatTimeout 1ms is", "ElectionTimeout", "LeaderLeaseTimeout", "PromoteAfter",
		"FreshnessInterval", "RequestTimeout", "CertificateLifetime", "WatchersMax", "ProgressInterval", "Log.TrailingEntries",
	} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("the error does not name %s: %v", field, err)
		}
	}
}
