package gossip

import (
	"fmt"

	"github.com/hashicorp/memberlist"

	"github.com/spire-raft/spire-raft/store"
)

// Use makes the keys those that Gossip works with: the first encrypts, all
// decrypt. With the first call it begins to gossip, in the name of one instance
// of the cluster: others are not heard. It is for a Gossip without Config.Key.
func (g *Gossip) Use(instance string, keys [][]byte) error {
	if err := checkInstance(instance); err != nil {
		return err
	}
	if len(keys) == 0 {
		return fmt.Errorf("%w: no gossip key", store.ErrInvalid)
	}
	for _, key := range keys {
		if err := checkKey(key); err != nil {
			return fmt.Errorf("gossip key: %w", err)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.closed:
		return fmt.Errorf("gossip: %w", store.ErrClosed)
	case g.list != nil:
		return replaceKeys(g.ring, keys)
	}
	g.members.setInstance(instance)
	return g.begin(g.cfg.ClusterID+labelSeparator+instance, keys)
}

// labelSeparator is in no id.
const labelSeparator = "/"

// begin starts to gossip. The caller holds mu, or is alone.
func (g *Gossip) begin(label string, keys [][]byte) error {
	ring, err := memberlist.NewKeyring(keys, keys[0])
	if err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	c := memberlistConfig(g.cfg, g.transport, g.members)
	c.Label, c.Keyring = label, ring
	list, err := memberlist.Create(c)
	if err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	g.list, g.ring = list, ring
	g.transport.open.Store(true)
	g.wg.Go(g.tell)
	g.wg.Go(func() { g.rejoin(list) })
	return nil
}

// replaceKeys makes a keyring hold keys, of which the first encrypts. memberlist
// goes on using the slice of its keys without a lock, so it must not be changed
// in place: of RemoveKey that holds for the last key alone.
func replaceKeys(ring *memberlist.Keyring, keys [][]byte) error {
	if err := ring.AddKey(keys[0]); err != nil {
		return err
	}
	if err := ring.UseKey(keys[0]); err != nil {
		return err
	}
	for old := ring.GetKeys(); len(old) > 1; old = ring.GetKeys() {
		if err := ring.RemoveKey(old[len(old)-1]); err != nil {
			return err
		}
	}
	for _, key := range keys[1:] {
		if err := ring.AddKey(key); err != nil {
			return err
		}
	}
	return nil
}
