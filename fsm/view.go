package fsm

import (
	"github.com/spire-raft/spire-raft/internal/boltfile"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/txn"
)

var _ txn.Snapshot = (*View)(nil)

// View is one state of a machine, unchanging until Close, also while entries
// are applied and snapshots installed. Slices that it hands out are valid until
// Close, those of Scan until fn returns; none may be changed. One goroutine
// uses it at a time. While it is open the file can't reuse what it sees, so
// don't keep it for long.
type View struct {
	*version
	tx      readTx
	buckets [bucketConfiguration]bucket // opened when they are needed
}

// View returns a view of what is applied.
func (m *Machine) View() (*View, error) {
	for {
		ver, err := m.acquire()
		if err != nil {
			return nil, err
		}
		v := &View{version: ver}
		if v.tx, err = ver.db.begin(); err != nil {
			ver.db.release()
			return nil, err
		}
		// The file must not have become newer than the layers in between: it is
		// written to only after the generation has changed.
		if m.version.Load().generation == ver.generation {
			return v, nil
		}
		v.Close()
	}
}

// Close implements [txn.Snapshot]. It is called once.
func (v *View) Close() {
	v.tx.end()
	v.db.release()
}

// Position is the view's place in the log.
func (v *View) Position() Position { return v.position }

// Cursor implements [txn.Snapshot].
func (v *View) Cursor() store.Cursor { return v.position.Cursor }

func (v *View) bucket(id bucketID) (*bucket, error) {
	b := &v.buckets[id]
	if b.file.cursor == nil {
		var err error
		if *b, err = openBucket(v.tx.Tx, id, v.layers); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// Get implements [txn.Snapshot].
func (v *View) Get(key []byte) (kv store.KeyValue, found bool, err error) {
	err = boltfile.Guard("get", func() error {
		b, err := v.bucket(bucketKV)
		if err != nil {
			return err
		}
		record, err := b.find(key)
		if err != nil || record == nil {
			return err
		}
		rev, value, err := openKV(key, record)
		if err != nil {
			return err
		}
		kv, found = store.KeyValue{Key: key, Value: value, ModRevision: rev}, true
		return nil
	})
	return kv, found, err
}

// Scan implements [txn.Snapshot].
func (v *View) Scan(r store.Range, fn func(store.KeyValue) bool) error {
	var b *bucket
	var key, record []byte
	var kv store.KeyValue
	// fn runs outside guard, which would take its panics for damage.
	first := func() (err error) {
		if b, err = v.bucket(bucketKV); err != nil {
			return err
		}
		if key, record, err = b.seek(r.Start); err == nil {
			err = openPair(&kv, key, record)
		}
		return err
	}
	next := func() (err error) {
		if key, record, err = b.next(); err == nil {
			err = openPair(&kv, key, record)
		}
		return err
	}
	for step := first; ; step = next {
		if err := boltfile.Guard("scan", step); err != nil {
			return err
		}
		if key == nil || !r.Contains(key) || !fn(kv) {
			return nil
		}
	}
}

// openPair makes kv the pair of a record, unless key is nil.
func openPair(kv *store.KeyValue, key, record []byte) (err error) {
	if key == nil {
		return nil
	}
	kv.Key = key
	kv.ModRevision, kv.Value, err = openKV(key, record)
	return err
}

// Configuration returns the configuration at the view's ConfigurationIndex,
// nil where there was none.
func (v *View) Configuration() []byte { return v.state.configuration }

// Removed tells whether a node was removed, so that its id may not come back.
func (v *View) Removed(nodeID string) (removed bool, err error) {
	err = boltfile.Guard("get removed node", func() error {
		b, err := v.bucket(bucketRemoved)
		if err != nil {
			return err
		}
		body, err := b.findSealed([]byte(nodeID))
		removed = body != nil
		return err
	})
	return removed, err
}

// Admission returns with what a node was admitted, and whether it was.
func (v *View) Admission(nodeID string) (a Admission, found bool, err error) {
	err = boltfile.Guard("get admission", func() error {
		b, err := v.bucket(bucketAdmissions)
		if err != nil {
			return err
		}
		body, err := b.findSealed([]byte(nodeID))
		if err != nil || body == nil {
			return err
		}
		found = true
		a, err = decodeAdmission([]byte(nodeID), body)
		return err
	})
	return a, found, err
}

// Authority returns the cluster's own authority, and whether it has one.
func (v *View) Authority() (a Authority, found bool, err error) {
	err = boltfile.Guard("get authority", func() error {
		b, err := v.bucket(bucketAuthority)
		if err != nil {
			return err
		}
		a, err = b.authority()
		return err
	})
	return a, a.Certificate != nil, err
}

// JoinTokens returns every join token, used or not.
func (v *View) JoinTokens() (tokens []JoinToken, err error) {
	err = boltfile.Guard("list join tokens", func() error {
		b, err := v.bucket(bucketTokens)
		if err != nil {
			return err
		}
		return b.eachToken(func(_, _ []byte, t JoinToken) { tokens = append(tokens, t) })
	})
	return tokens, err
}

// JoinToken returns a join token, and whether there is one. Whether a node may
// use it is decided when a UseJoinToken command is applied.
func (v *View) JoinToken(hash TokenHash) (t JoinToken, found bool, err error) {
	err = boltfile.Guard("get join token", func() error {
		b, err := v.bucket(bucketTokens)
		if err != nil {
			return err
		}
		body, err := b.findSealed(hash[:])
		if err != nil || body == nil {
			return err
		}
		found = true
		t, err = decodeToken(hash[:], body)
		return err
	})
	return t, found, err
}
