package fsm_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/fsm"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/txn"
)

var update = flag.Bool("update", false, "write the golden files of formats that have none yet; existing ones are never written over")

// goldenVersions are the versions that the durable formats have had. A change
// of any of them adds a version here, and its files by -update. What is there
// must be read for ever.
var goldenVersions = []int{1}

// goldenLog brings something into every bucket, with every kind of command.
func goldenLog(tb testing.TB) []fsm.Entry {
	now := time.UnixMilli(1_700_000_000_000)
	tx := func(in txn.Intent) []byte { return transaction(tb, &in) }
	numbered := txn.Write{
		Kind: store.EventPut, Key: []byte("event/........"), Value: []byte("number ........"),
		Patches: []store.Patch{{Target: store.PatchKey, Offset: 6}, {Target: store.PatchValue, Offset: 7, Sequence: store.Sequence{Nth: 1}}},
	}
	return []fsm.Entry{
		{Index: 1, Term: 1, Kind: fsm.EntryConfiguration, Data: []byte("a configuration")},
		{Index: 3, Term: 2, Kind: fsm.EntryCommands, Data: fsm.EncodeEnvelope([][]byte{
			fsm.EncodeTermStart(),
			fsm.EncodeRaiseFeatureLevel(1),
			fsm.EncodeSetHistoryBudget(150),
			fsm.EncodeInitCluster("0123abcd", fsm.Authority{TrustDomain: "example.org", Certificate: []byte("certificate"), Key: []byte("key")}, "node-0", "disk-0", fsm.KeyHash{7}),
			fsm.EncodeChangeAuthority(fsm.AuthorityAdd, []byte("second"), []byte("key of the second")),
			fsm.EncodeChangeAuthority(fsm.AuthorityPromote, []byte("second"), nil),
			fsm.EncodeChangeAuthority(fsm.AuthorityDrop, []byte("certificate"), nil),
			fsm.EncodeChangeAuthority(fsm.AuthorityAdd, []byte("third"), []byte("key of the third")),
			fsm.EncodeAddJoinToken(fsm.TokenHash{1, 2, 3}, "", "", now.Add(time.Hour), now),
			fsm.EncodeAddJoinToken(fsm.TokenHash{4, 5, 6}, "", "node-0", now.Add(time.Hour), now),
			fsm.EncodeAddJoinToken(fsm.TokenHash{7, 8, 9}, "node-3", "node-2", now.Add(time.Hour), now),
			fsm.EncodeAddJoinToken(fsm.TokenHash{10}, "node-3", "", now.Add(time.Hour), now),
			fsm.EncodeRevokeJoinToken(fsm.TokenHash{10}.ID()),
			fsm.EncodeUseJoinToken(fsm.TokenHash{1, 2, 3}, "node-2", "disk-2", fsm.KeyHash{8}, now),
			fsm.EncodeRecordOpening("node-2", "disk-2", opened(4, 5)),
			fsm.EncodeRemoveNode("node-1"),
			fsm.EncodeSetGossipKeys(0, fsm.GossipKeys{Keys: gossipKeys(1, 2), Primary: 1, MadeUnixMS: now.UnixMilli()}),
			fsm.EncodeRotateGossipKey(),
			tx(txn.Intent{Writes: []txn.Write{put("a", "1"), put("b", ""), put("c", "a value of some length, to fill the history up")}}),
			tx(txn.Intent{Writes: []txn.Write{put("a", "2"), del("b"), put("d", "a value of some length, to fill the history up")}}),
			tx(txn.Intent{
				ReadRevision: 2,
				Points:       []txn.Point{{Key: []byte("a"), ModRevision: 2}, {Key: []byte("b")}},
				Ranges:       []store.Range{{Start: []byte("c")}, {Start: []byte("a"), End: []byte("b")}},
				Raises:       []txn.Raise{{Counter: []byte("events"), Floor: 41}},
				Counters:     [][]byte{[]byte("events"), []byte("others")},
				Writes:       []txn.Write{del("c"), numbered},
			}),
			tx(txn.Intent{ReadRevision: 2, Ranges: []store.Range{{}}, Writes: []txn.Write{put("a", "conflict")}}),
			fsm.WithOrigin(tx(txn.Intent{Writes: []txn.Write{put("e", "for this term")}}), fsm.Origin{Term: 2, Session: 1 << 50, Request: 300}),
			fsm.WithOrigin(tx(txn.Intent{Writes: []txn.Write{put("e", "for an earlier term")}}), fsm.Origin{Term: 1, Session: 1 << 50, Request: 299}),
		})},
	}
}

// goldenState is all that can be read of a machine.
func goldenState(t *testing.T, m *fsm.Machine) string {
	p := m.Position()
	v, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	// Field by field: a new one must not change what is written of old states.
	var out strings.Builder
	out.WriteString(fmt.Sprintf("index %d term %d cursor %v compact %d\n", p.Index, p.Term, p.Cursor, p.Compact))
	out.WriteString(fmt.Sprintf("hash %v\n", p.Hash))
	out.WriteString(fmt.Sprintf("level %d term start %d of %d\n", p.FeatureLevel, p.TermStartIndex, p.TermStartTerm))
	out.WriteString(fmt.Sprintf("history %d of %d bytes\n", p.HistoryBytes, p.HistoryBudget))
	out.WriteString(fmt.Sprintf("configuration %d %q\n", p.ConfigurationIndex, v.Configuration()))
	for _, kv := range contents(t, m) {
		out.WriteString(fmt.Sprintf("pair %q = %q at %d\n", kv.Key, kv.Value, kv.ModRevision))
	}
	batches, err := v.History(store.Cursor{Revision: p.Compact}, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range batches {
		for _, e := range b.Events {
			out.WriteString(fmt.Sprintf("event %v %v %q = %q\n", b.Cursor, e.Kind, e.Key, e.Value))
		}
	}
	for _, hash := range []fsm.TokenHash{{1, 2, 3}, {4, 5, 6}, {7, 8, 9}, {10}} {
		token, found, err := v.JoinToken(hash)
		out.WriteString(fmt.Sprintf("token %x %v %d %q %q %q %v %v\n", hash[:3], token.ID, token.ExpiresUnixMS, token.NodeID, token.MadeBy, token.UsedBy, found, err))
	}
	for _, node := range []string{"node-0", "node-1", "node-2"} {
		a, found, err := v.Admission(node)
		out.WriteString(fmt.Sprintf("admission %s %q %x index %d opening %d %x %v %v\n", node, a.DiskID, a.Key, a.Index, a.Opening.Number, a.Opening.Nonce, found, err))
	}
	authority, found, err := v.Authority()
	out.WriteString(fmt.Sprintf("instance %q authority %q %q %q %v %v\n", p.Instance, authority.TrustDomain, authority.Certificate, authority.Key, found, err))
	out.WriteString(fmt.Sprintf("next authority %q %q old %q changed at %d\n", authority.Next, authority.NextKey, authority.Old, authority.ChangedIndex))
	gossip, found, err := v.GossipKeys()
	out.WriteString(fmt.Sprintf("gossip keys %x primary %d made %d due %v index %d %v %v\n", gossip.Keys, gossip.Primary, gossip.MadeUnixMS, gossip.Due, gossip.Index, found, err))
	removed, err := v.Removed("node-1")
	return out.String() + fmt.Sprintf("removed %v %v\n", removed, err)
}

func TestGolden(t *testing.T) {
	if *update {
		writeGolden(t, goldenVersions[len(goldenVersions)-1])
	}
	for _, version := range goldenVersions {
		name := func(format string) string { return filepath.Join("testdata", fmt.Sprintf(format, version)) }
		want := string(readGolden(t, name("state-v%d.txt")))
		t.Run(fmt.Sprintf("envelope v%d", version), func(t *testing.T) {
			m := open(t)
			log := goldenLog(t)
			log[1].Data = readGolden(t, name("envelope-v%d.bin"))
			applyAll(t, m, log...)
			if got := goldenState(t, m); got != want {
				t.Errorf("the entries come to\n%swant\n%s", got, want)
			}
		})
		t.Run(fmt.Sprintf("database v%d", version), func(t *testing.T) {
			dir := t.TempDir()
			writeState(t, dir, readGolden(t, name("state-v%d.db.gz")))
			checkGolden(t, openIn(t, dir), want)
		})
		t.Run(fmt.Sprintf("snapshot v%d", version), func(t *testing.T) {
			m := open(t)
			if err := install(m, readGolden(t, name("snapshot-v%d.bin.gz"))); err != nil {
				t.Fatal(err)
			}
			checkGolden(t, m, want)
		})
	}
}

func checkGolden(t *testing.T, m *fsm.Machine, want string) {
	t.Helper()
	if got := goldenState(t, m); got != want {
		t.Errorf("it holds\n%swant\n%s", got, want)
	}
	scrub(t, m)
	if res := apply(t, m, writes(t, put("a", "3"))); res[0].Outcome != fsm.Committed {
		t.Errorf("the next entry: %+v", res[0])
	}
}

// readGolden reads a file, unpacked if need be.
func readGolden(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Ext(name) != ".gz" {
		return data
	}
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	data, err = io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func writeGolden(t *testing.T, version int) {
	t.Helper()
	dir := t.TempDir()
	m := openIn(t, dir)
	log := goldenLog(t)
	applyAll(t, m, log...)
	state, snapshot := goldenState(t, m), stream(t, m)
	closeMachine(t, m)
	path := filepath.Join(dir, "state.db")
	used, err := fsm.UsedBytes(path)
	if err != nil {
		t.Fatal(err)
	}
	db, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for format, data := range map[string][]byte{
		"state-v%d.txt":       []byte(state),
		"envelope-v%d.bin":    log[1].Data,
		"state-v%d.db.gz":     pack(t, db[:used]),
		"snapshot-v%d.bin.gz": pack(t, snapshot),
	} {
		name := filepath.Join("testdata", fmt.Sprintf(format, version))
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if errors.Is(err, os.ErrExist) {
			t.Logf("%s exists and stays as it is", name)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Write(data)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func pack(t *testing.T, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, err := w.Write(data)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}
