package load

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/check"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/client"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/cluster"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
)

// agentLifetime outlasts every run.
const agentLifetime = 24 * time.Hour

// regions divide the agents: the entries of the steady load belong to one each.
var regions = []string{"north", "south", "east", "west"}

// selectorType is that of the selectors of agents.
const selectorType = "demo"

// Agent is an agent of the demo, and the server that it talks to.
type Agent struct {
	ID     string
	Server *cluster.Server
	region string
}

// Fleet is the agents of the demo and what they need. Each server has one for
// each region.
type Fleet struct {
	TrustDomain spiffeid.TrustDomain
	Agents      []Agent
}

// NewFleet returns the fleet of a cluster, which has yet to be set up.
func NewFleet(c *cluster.Cluster) *Fleet {
	f := &Fleet{TrustDomain: c.TrustDomain}
	for _, s := range c.Servers {
		for _, region := range regions {
			id := fmt.Sprintf("%s/spire/agent/demo/%s-%s", f.TrustDomain.IDString(), s.Name(), region)
			f.Agents = append(f.Agents, Agent{ID: id, Server: s, region: region})
		}
	}
	return f
}

// SetUp writes, in parallel through all servers, the bundles of the trust domain
// and of those that entries federate with, the agents, and the entries that the
// steady load needs.
func (f *Fleet) SetUp(ctx context.Context, servers []*cluster.Server, ledger *check.Ledger, entries []*spirev1.RegistrationEntry) error {
	bundles, err := f.bundles(entries)
	if err != nil {
		return err
	}
	for _, tasks := range [][]task{bundles, f.selectors(), f.agents(), f.entries()} {
		if err := doAll(ctx, servers, ledger, tasks); err != nil {
			return err
		}
	}
	return nil
}

func (f *Fleet) bundles(entries []*spirev1.RegistrationEntry) ([]task, error) {
	ids := []string{f.TrustDomain.IDString()}
	for _, e := range entries {
		ids = append(ids, e.FederatesWith...)
	}
	slices.Sort(ids)
	var tasks []task
	for _, id := range slices.Compact(ids) {
		b, err := newBundle(id)
		if err != nil {
			return nil, err
		}
		tasks = append(tasks, task{write: check.BundleOf(id), send: func(ctx context.Context, cl *client.Client) (api.Written, error) {
			return cl.CreateBundle(ctx, b, writeTimeout)
		}})
	}
	return tasks, nil
}

// selectors are set before the agents are created, as in SPIRE.
func (f *Fleet) selectors() []task {
	var tasks []task
	for _, a := range f.Agents {
		selectors := []*spirev1.Selector{
			{Type: selectorType, Value: "server:" + a.Server.Name()},
			regionSelector(a.region),
		}
		tasks = append(tasks, task{write: check.SelectorsOf(a.ID), blind: true, send: func(ctx context.Context, cl *client.Client) (api.Written, error) {
			return cl.SetSelectors(ctx, a.ID, selectors, writeTimeout)
		}})
	}
	return tasks
}

func (f *Fleet) agents() []task {
	var tasks []task
	for i, a := range f.Agents {
		n := &spirev1.AttestedNode{
			SpiffeId:            a.ID,
			AttestationDataType: selectorType,
			CertSerialNumber:    fmt.Sprint(1000 + i),
			CertNotAfter:        time.Now().Add(agentLifetime).Unix(),
			CanReattest:         true,
		}
		tasks = append(tasks, task{write: check.AgentOf(a.ID), send: func(ctx context.Context, cl *client.Client) (api.Written, error) {
			return cl.CreateAgent(ctx, n, writeTimeout)
		}})
	}
	return tasks
}

// entries are a node alias for each region, and the entries that all writers
// update.
func (f *Fleet) entries() []task {
	var tasks []task
	for _, region := range regions {
		tasks = append(tasks, createEntry(&spirev1.RegistrationEntry{
			EntryId:   check.WritePrefix + "alias-" + region,
			SpiffeId:  f.regionID(region),
			ParentId:  f.TrustDomain.IDString() + "/spire/server",
			Selectors: []*spirev1.Selector{regionSelector(region)},
		}))
	}
	for i := range hotEntries {
		tasks = append(tasks, createEntry(f.newEntry(hotEntry(i), regions[i%len(regions)])))
	}
	return tasks
}

// newEntry returns an entry that the agents of a region are authorised for.
func (f *Fleet) newEntry(id, region string) *spirev1.RegistrationEntry {
	return &spirev1.RegistrationEntry{
		EntryId:     id,
		SpiffeId:    f.TrustDomain.IDString() + "/demo/workload/" + id,
		ParentId:    f.regionID(region),
		Selectors:   []*spirev1.Selector{{Type: "unix", Value: "user:" + id}},
		X509SvidTtl: 3600,
		DnsNames:    []string{id + ".demo"},
	}
}

// NewProbe returns an entry that no agent is authorised for.
func (f *Fleet) NewProbe(id string) *spirev1.RegistrationEntry {
	return f.newEntry(id, "nowhere")
}

// regionID is the SPIFFE ID that stands for all agents of a region.
func (f *Fleet) regionID(region string) string {
	return f.TrustDomain.IDString() + "/demo/region/" + region
}

func regionSelector(region string) *spirev1.Selector {
	return &spirev1.Selector{Type: selectorType, Value: "region:" + region}
}

func hotEntry(i int) string { return fmt.Sprintf("%shot-%d", check.WritePrefix, i) }
