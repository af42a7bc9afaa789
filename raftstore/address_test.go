package raftstore_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spire-raft/spire-raft/raftstore"
)

// TestValidate_AddressesThatNobodyReaches: each problem names the field and what
// helps, before anything listens.
func TestValidate_AddressesThatNobodyReaches(t *testing.T) {
	advertise := func(a string) func(*raftstore.Config) {
		return func(c *raftstore.Config) { c.AdvertiseAddress = a }
	}
	join := func(a string) func(*raftstore.Config) {
		return func(c *raftstore.Config) { c.Join = &raftstore.JoinConfig{Addresses: []string{a}, Token: "t"} }
	}
	gossip := func(g raftstore.GossipConfig) func(*raftstore.Config) {
		g.Key = value(32)
		return func(c *raftstore.Config) { c.Gossip = &g }
	}
	for name, tc := range map[string]struct {
		change   func(*raftstore.Config)
		mentions string
	}{
		"advertise port 0":        {advertise("10.0.0.1:0"), "AdvertiseAddress \"10.0.0.1:0\" has port 0: name the port"},
		"advertise a wildcard":    {advertise("0.0.0.0:8090"), "is a wildcard: name the host"},
		"advertise a v6 wildcard": {advertise("[::]:8090"), "is a wildcard: name the host"},
		"advertise no host":       {advertise(":8090"), "has no host: name the one"},
		"advertise a huge port":   {advertise("10.0.0.1:99999"), "no number up to 65535"},
		"listen on a huge port":   {func(c *raftstore.Config) { c.ListenAddress = ":99999" }, "ListenAddress"},
		"join without a port":     {join("10.0.0.1"), "is not host:port"},
		"join v6 unbracketed":     {join("fd00::1:8090"), "IPv6 address in brackets"},
		"join a URL":              {join("https://10.0.0.1:8090"), "leave out the scheme"},
		"join nothing":            {join(""), "Join.Addresses has \"\" is not host:port"},
		"a seed without a port":   {gossip(raftstore.GossipConfig{BindAddress: ":0", Seeds: []string{"10.0.0.1"}}), "Gossip.Seeds has"},
		"gossip from a wildcard":  {gossip(raftstore.GossipConfig{BindAddress: ":0", AdvertiseAddress: "0.0.0.0:1"}), "Gossip.AdvertiseAddress"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := newCluster(t).config("node-1")
			if err := cfg.Validate(); err != nil {
				t.Fatal(err)
			}
			tc.change(&cfg)
			if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), tc.mentions) {
				t.Errorf("got %v, which does not mention %q", err, tc.mentions)
			}
		})
	}
}

// TestOpen_OnAVolumeOfAGroup opens what Kubernetes makes of a directory at each
// mount of a volume with an fsGroup. Others than the group stay out.
func TestOpen_OnAVolumeOfAGroup(t *testing.T) {
	t.Parallel()
	c, cfg := stopped(t)
	mount := func(others fs.FileMode) {
		must(t, filepath.WalkDir(cfg.Dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() {
				return os.Chmod(path, 0o770|fs.ModeSetgid|others)
			}
			return os.Chmod(path, 0o660)
		}))
	}
	mount(0o005)
	c.openRefused(cfg, raftstore.ErrPermissions)
	mount(0)
	must(t, c.mustOpen(cfg).Close())
}
