package fsm_test

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spire-raft/spire-raft/fsm"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/txn"
)

// A log may reach a machine in any batches, with crashes in between, and part
// of it as a snapshot: what comes out must be the same to the bit.
func TestDeterminism(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		log := drawLog(rt)
		one := newReplica(t, rt, -1) // which writes every entry to its file
		defer one.close()
		snapshots := make(map[int][]byte)
		cut := rapid.IntRange(0, len(log)).Draw(rt, "snapshot after")
		for i, e := range log {
			if i == cut {
				snapshots[cut] = stream(t, one.machine)
			}
			one.apply(e)
		}
		if cut == len(log) {
			snapshots[cut] = stream(t, one.machine)
		}

		batches := newReplica(t, rt, rapid.SampledFrom([]int{1, 2000, 1 << 20}).Draw(rt, "flush bytes"))
		defer batches.close()
		for at := 0; at < len(log); {
			n := rapid.IntRange(1, len(log)-at).Draw(rt, "batch")
			batches.apply(log[at : at+n]...)
			at += n
			switch rapid.IntRange(0, 7).Draw(rt, "then") {
			case 0:
				batches.reopen()
			case 1:
				batches.flush()
			case 2:
				at = batches.crash(log)
			}
			batches.sameAs(one)
		}

		installed := newReplica(t, rt, rapid.SampledFrom([]int{1, 1 << 20}).Draw(rt, "flush bytes"))
		defer installed.close()
		before := rapid.IntRange(0, cut).Draw(rt, "applied before the snapshot")
		installed.apply(log[:before]...)
		if err := installed.machine.Install(bytes.NewReader(snapshots[cut])); err != nil {
			rt.Fatal(err)
		}
		installed.sameAs(one)
		installed.apply(log...) // from the beginning, as after a lost reply
		installed.sameAs(one)

		for _, r := range []*replica{batches, installed} {
			if got, want := r.describe(), one.describe(); got != want {
				rt.Fatalf("a replica with the same hash holds\n%s\nbut the first\n%s", got, want)
			}
			for i, res := range r.results {
				if res != nil && !reflect.DeepEqual(res, one.results[i]) {
					rt.Fatalf("entry %d: results %+v and %+v", i, res, one.results[i])
				}
			}
		}
	})
}

// replica is a machine and what it has answered.
type replica struct {
	t       *testing.T
	rt      *rapid.T
	opts    fsm.Options
	machine *fsm.Machine
	results map[uint64][]fsm.Result // by index
	hashes  map[uint64]fsm.StateHash
}

func newReplica(t *testing.T, rt *rapid.T, flushBytes int) *replica {
	r := &replica{t: t, rt: rt, opts: options(t.TempDir()), results: map[uint64][]fsm.Result{}, hashes: map[uint64]fsm.StateHash{}}
	r.opts.FlushBytes = flushBytes
	r.open()
	return r
}

func (r *replica) open() {
	var err error
	if r.machine, err = fsm.Open(r.opts); err != nil {
		r.rt.Fatal(err)
	}
}

func (r *replica) close() {
	if err := r.machine.Close(); err != nil {
		r.rt.Fatal(err)
	}
}

func (r *replica) reopen() {
	before := r.machine.Position()
	r.close()
	r.open()
	if after := r.machine.Position(); after != before {
		r.rt.Fatalf("position %+v after reopening, %+v before", after, before)
	}
}

func (r *replica) flush() {
	if err := r.machine.Flush(); err != nil {
		r.rt.Fatal(err)
	}
	if durable, p := r.machine.DurableIndex(), r.machine.Position(); durable != p.Index {
		r.rt.Fatalf("after Flush %d is durable, of %d", durable, p.Index)
	}
}

// crash loses what is not in the file, and returns how many entries of the log
// are left.
func (r *replica) crash(log []fsm.Entry) int {
	if err := fsm.Crash(r.machine); err != nil {
		r.rt.Fatal(err)
	}
	durable := r.machine.DurableIndex()
	r.open()
	p := r.machine.Position()
	if p.Index < durable {
		r.rt.Fatalf("position %+v after a crash, but %d was durable", p, durable)
	}
	return sort.Search(len(log), func(i int) bool { return log[i].Index > p.Index })
}

func (r *replica) apply(entries ...fsm.Entry) {
	results, err := r.machine.Apply(entries)
	if err != nil {
		r.rt.Fatal(err)
	}
	for i, e := range entries {
		if results[i] != nil {
			r.results[e.Index] = results[i]
		}
		if hash, ok := r.machine.HashAt(e.Index); ok {
			r.hashes[e.Index] = hash
		}
	}
}

// sameAs holds every hash against that of a replica that applied each entry by
// itself.
func (r *replica) sameAs(one *replica) {
	p := r.machine.Position()
	if want := one.hashes[p.Index]; p.Index > 0 && p.Hash != want {
		r.rt.Fatalf("at index %d the hash is %v, want %v", p.Index, p.Hash, want)
	}
	for index, hash := range r.hashes {
		if hash != one.hashes[index] {
			r.rt.Fatalf("at index %d the hash was %v, want %v", index, hash, one.hashes[index])
		}
	}
	if _, err := r.machine.Scrub(r.t.Context()); err != nil {
		r.rt.Fatal(err)
	}
}

// describe is the whole state.
func (r *replica) describe() string {
	p := r.machine.Position()
	batches, err := r.machine.History(store.Cursor{Revision: p.Compact}, 1<<30)
	if err != nil {
		r.rt.Fatal(err)
	}
	v, err := r.machine.View()
	if err != nil {
		r.rt.Fatal(err)
	}
	defer v.Close()
	token, _, err := v.JoinToken(fsm.TokenHash{})
	if err != nil {
		r.rt.Fatal(err)
	}
	removed, err := v.Removed("n0")
	if err != nil {
		r.rt.Fatal(err)
	}
	admission, _, err := v.Admission("n1")
	if err != nil {
		r.rt.Fatal(err)
	}
	authority, _, err := v.Authority()
	if err != nil {
		r.rt.Fatal(err)
	}
	gossip, _, err := v.GossipKeys()
	if err != nil {
		r.rt.Fatal(err)
	}
	return fmt.Sprintf("%+v\n%v\n%s\n%q %+v %v %+v %+v %+v", p, contents(r.t, r.machine), describe(batches), v.Configuration(), token, removed, admission, authority, gossip)
}

// drawLog is a log of commands of every kind, on few keys.
func drawLog(t *rapid.T) []fsm.Entry {
	var log []fsm.Entry
	index := uint64(0)
	for range rapid.IntRange(1, 25).Draw(t, "entries") {
		index += uint64(rapid.IntRange(1, 2).Draw(t, "gap"))
		if rapid.IntRange(0, 9).Draw(t, "configuration") == 0 {
			log = append(log, fsm.Entry{Index: index, Term: 1, Kind: fsm.EntryConfiguration, Data: []byte(drawValue(t))})
			continue
		}
		cmds := make([][]byte, rapid.IntRange(0, 4).Draw(t, "commands"))
		for i := range cmds {
			cmds[i] = drawCommand(t)
		}
		log = append(log, entry(index, cmds...))
	}
	return log
}

func drawCommand(t *rapid.T) []byte {
	now := time.UnixMilli(int64(rapid.IntRange(0, 9).Draw(t, "now")))
	token := fsm.TokenHash{byte(rapid.IntRange(0, 2).Draw(t, "token"))}
	node := fmt.Sprintf("n%d", rapid.IntRange(0, 2).Draw(t, "node"))
	key := fsm.KeyHash{byte(rapid.IntRange(0, 1).Draw(t, "key"))}
	switch rapid.IntRange(0, 27).Draw(t, "kind") {
	case 0:
		return fsm.EncodeTermStart()
	case 1:
		return fsm.EncodeSetHistoryBudget(uint64(rapid.IntRange(0, 3000).Draw(t, "budget")))
	case 2:
		return fsm.EncodeAddJoinToken(token, rapid.SampledFrom([]string{"", node}).Draw(t, "bound"), rapid.SampledFrom([]string{"", "n0"}).Draw(t, "maker"), now.Add(5*time.Millisecond), now)
	case 3:
		return fsm.EncodeUseJoinToken(token, node, "", key, now)
	case 4:
		return fsm.EncodeRemoveNode(node)
	case 5:
		return fsm.EncodeRaiseFeatureLevel(uint32(rapid.IntRange(0, fsm.FeatureLevelMax).Draw(t, "level")))
	case 6:
		return fsm.EncodeInitCluster("instance", fsm.Authority{TrustDomain: "d", Certificate: []byte("c"), Key: []byte("k")}, node, "", key)
	case 7:
		return fsm.EncodeRevokeJoinToken(token.ID())
	case 8:
		var openings []fsm.Opening
		for number := rapid.IntRange(1, 3).Draw(t, "first"); number <= 3; number++ {
			openings = append(openings, fsm.Opening{Number: uint64(number), Nonce: [16]byte{byte(rapid.IntRange(0, 1).Draw(t, "nonce"))}})
		}
		return fsm.EncodeRecordOpening(node, "", openings)
	case 9:
		next := fsm.GossipKeys{Keys: gossipKeys(key[0], 2), Primary: rapid.IntRange(0, 1).Draw(t, "primary"), MadeUnixMS: now.UnixMilli()}
		return fsm.EncodeSetGossipKeys(uint64(rapid.IntRange(0, 9).Draw(t, "replaces")), next)
	case 10:
		return fsm.EncodeRotateGossipKey()
	case 11:
		step := rapid.SampledFrom([]fsm.AuthorityStep{fsm.AuthorityAdd, fsm.AuthorityPromote, fsm.AuthorityDrop}).Draw(t, "step")
		return fsm.EncodeChangeAuthority(step, []byte(rapid.SampledFrom([]string{"c", "d"}).Draw(t, "authority")), []byte("k"))
	default:
		cmd, err := fsm.EncodeTransaction(drawIntent(t))
		if err != nil {
			t.Fatal(err)
		}
		return cmd
	}
}

func drawKey(t *rapid.T) []byte { return []byte{byte(rapid.IntRange('a', 'h').Draw(t, "key"))} }

func drawValue(t *rapid.T) string {
	size := rapid.SampledFrom([]int{0, 1, 10, 500, 5000}).Draw(t, "size")
	return strings.Repeat(string(rune('a'+rapid.IntRange(0, 3).Draw(t, "value"))), size)
}

func drawIntent(t *rapid.T) *txn.Intent {
	in := &txn.Intent{ReadRevision: store.Revision(rapid.IntRange(0, 20).Draw(t, "read revision"))}
	for range rapid.IntRange(0, 1).Draw(t, "points") {
		in.Points = append(in.Points, txn.Point{Key: drawKey(t), ModRevision: store.Revision(rapid.IntRange(0, 9).Draw(t, "mod revision"))})
	}
	for range rapid.SampledFrom([]int{0, 0, 0, 1, 3}).Draw(t, "ranges") {
		in.Ranges = append(in.Ranges, store.Range{Start: drawKey(t), End: drawKey(t)})
	}
	for range rapid.IntRange(0, 1).Draw(t, "raises") {
		in.Raises = append(in.Raises, txn.Raise{Counter: drawKey(t), Floor: uint64(rapid.IntRange(0, 50).Draw(t, "floor"))})
	}
	for range rapid.IntRange(0, 2).Draw(t, "counters") {
		in.Counters = append(in.Counters, drawKey(t))
	}
	keys := rapid.SliceOfNDistinct(rapid.IntRange('a', 'h'), 0, 4, rapid.ID).Draw(t, "writes")
	slices.Sort(keys)
	for _, k := range keys {
		if rapid.Bool().Draw(t, "delete") {
			in.Writes = append(in.Writes, del(string(rune(k))))
		} else {
			in.Writes = append(in.Writes, put(string(rune(k)), drawValue(t)))
		}
	}
	for i := range in.Counters {
		in.Writes = append(in.Writes, txn.Write{
			Kind: store.EventPut, Key: []byte("n/........"), Value: []byte("........"),
			Patches: []store.Patch{
				{Target: store.PatchKey, Offset: 2, Sequence: store.Sequence{Nth: i}},
				{Target: store.PatchValue, Sequence: store.Sequence{Nth: i}},
			},
		})
	}
	return in
}

func TestHashAt(t *testing.T) {
	m := open(t)
	want := map[uint64]fsm.StateHash{0: m.Position().Hash}
	last := uint64(0)
	const entries = fsm.HashesMax + 100
	for i := uint64(1); i <= entries; i++ {
		index := 2 * i // odd ones are of no concern to the machine
		if i > entries-50 {
			applyAll(t, m, entry(index, writes(t, put("a", fmt.Sprint(i)))))
		} else if i%500 == 0 || i == entries-50 {
			var batch []fsm.Entry
			for j := last + 2; j <= index; j += 2 {
				batch = append(batch, entry(j, writes(t, put("a", fmt.Sprint(j/2)))))
			}
			applyAll(t, m, batch...)
		} else {
			continue
		}
		last = index
		want[index] = m.Position().Hash
		want[index-1], _ = m.HashAt(index - 2)
	}
	known := 0
	for index, hash := range want {
		got, ok := m.HashAt(index)
		if ok != (index > 2*(entries-fsm.HashesMax)) || ok && got != hash {
			t.Errorf("HashAt(%d) = %v, %v, want %v", index, got, ok, hash)
		}
		if ok {
			known++
		}
	}
	if known < 100 {
		t.Errorf("only %d hashes were compared", known)
	}
	if _, ok := m.HashAt(last + 1); ok {
		t.Error("the hash of an entry to come is known")
	}
}
