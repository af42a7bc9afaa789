package raftstore

import (
	"errors"
	"fmt"
	"time"

	"github.com/spire-raft/spire-raft/raftstore/internal/gossip"
	"github.com/spire-raft/spire-raft/store"
)

// Least values of fields that raft's correctness or progress rests on.
const (
	heartbeatMin = 10 * time.Millisecond

	// trailingMin keeps a follower that lags a little from being sent a
	// snapshot that is older than its state: hashicorp/raft does not check.
	trailingMin = 64
)

// Bounds of CertificateLifetime. Below the least renewal has no room for a
// leader's election, and the greatest is well within the life of an authority.
const (
	certificateLifetimeMin = time.Second
	certificateLifetimeMax = 365 * 24 * time.Hour
)

const gossipKeyBytes = gossip.KeyBytes

// Validate reports all that is wrong with c.
func (c Config) Validate() error {
	c = c.withDefaults()
	var p problems
	p.check(c.Dir != "", "Dir is empty: name the directory that Init prepared")
	p.address("ListenAddress", c.ListenAddress, checkListenAddress)
	if c.AdvertiseAddress != "" {
		p.address("AdvertiseAddress", c.AdvertiseAddress, checkAddress)
	}
	p.check(!c.Bootstrap || c.Join == nil, "Bootstrap and Join exclude each other")
	p.check(len(c.Seeds) <= seedsMax, "Seeds has %d addresses, the limit is %d", len(c.Seeds), seedsMax)
	for _, a := range c.Seeds {
		p.address("Seeds has", a, checkAddress)
	}
	if c.Join != nil {
		c.Join.validate(&p)
	}
	if c.Gossip != nil {
		c.Gossip.validate(&p)
	}
	c.Timing.validate(&p)
	p.check(c.Log.TrailingEntries >= trailingMin, "Log.TrailingEntries %d is below %d", c.Log.TrailingEntries, trailingMin)
	p.check(c.RequestTimeout > 0, "RequestTimeout %v is negative", c.RequestTimeout)
	p.check(c.AuthoritySeal == nil || c.Credentials == nil, "AuthoritySeal and Credentials exclude each other: with certificates from elsewhere there is no authority to seal")
	p.check(c.CertificateLifetime >= certificateLifetimeMin && c.CertificateLifetime <= certificateLifetimeMax,
		"CertificateLifetime %v is not between %v and %v", c.CertificateLifetime, certificateLifetimeMin, certificateLifetimeMax)
	p.check(c.WatchersMax > 0, "WatchersMax %d is negative", c.WatchersMax)
	p.check(c.ProgressInterval > 0 && c.ProgressInterval <= store.ProgressIntervalMax,
		"ProgressInterval %v is not between 0 and %v", c.ProgressInterval, store.ProgressIntervalMax)
	return errors.Join(p...)
}

func (j *JoinConfig) validate(p *problems) {
	p.check(len(j.Addresses) > 0, "Join.Addresses is empty: name a node of the cluster")
	for _, a := range j.Addresses {
		p.address("Join.Addresses has", a, checkAddress)
	}
	p.check(j.Token != "", "Join.Token is empty: create one on a node of the cluster")
}

func (g *GossipConfig) validate(p *problems) {
	p.address("Gossip.BindAddress", g.BindAddress, checkListenAddress)
	if g.AdvertiseAddress != "" {
		p.address("Gossip.AdvertiseAddress", g.AdvertiseAddress, checkAddress)
	}
	for _, a := range g.Seeds {
		p.address("Gossip.Seeds has", a, checkAddress)
	}
	p.check(len(g.Key) == 0 || len(g.Key) == gossipKeyBytes, "Gossip.Key has %d bytes, not %d", len(g.Key), gossipKeyBytes)
	p.check(len(g.OtherKeys) == 0 || len(g.Key) > 0, "Gossip.OtherKeys need a Gossip.Key: the cluster takes care of its own")
	p.check(len(g.OtherKeys) <= gossip.OtherKeysMax, "Gossip.OtherKeys has %d keys, the limit is %d", len(g.OtherKeys), gossip.OtherKeysMax)
	for _, key := range g.OtherKeys {
		p.check(len(key) == gossipKeyBytes, "Gossip.OtherKeys has a key of %d bytes, not %d", len(key), gossipKeyBytes)
	}
}

func (t Timing) validate(p *problems) {
	p.check(t.HeartbeatTimeout >= heartbeatMin, "HeartbeatTimeout %v is below %v", t.HeartbeatTimeout, heartbeatMin)
	p.check(t.ElectionTimeout >= t.HeartbeatTimeout, "ElectionTimeout %v is below HeartbeatTimeout %v", t.ElectionTimeout, t.HeartbeatTimeout)
	p.check(t.LeaderLeaseTimeout <= t.HeartbeatTimeout, "LeaderLeaseTimeout %v exceeds HeartbeatTimeout %v", t.LeaderLeaseTimeout, t.HeartbeatTimeout)
	p.check(t.PromoteAfter > 0, "PromoteAfter %v is negative", t.PromoteAfter)
	p.check(t.FreshnessInterval > 0, "FreshnessInterval %v is negative", t.FreshnessInterval)
}

// problems are what is wrong with a Config.
type problems []error

func (p *problems) check(ok bool, format string, args ...any) {
	if !ok {
		*p = append(*p, fmt.Errorf("raftstore config: "+format, args...))
	}
}

func (p *problems) address(field, a string, check func(string) error) {
	if err := check(a); err != nil {
		*p = append(*p, fmt.Errorf("raftstore config: %s %q %w", field, a, err))
	}
}
