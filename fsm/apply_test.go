package fsm_test

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/spire-raft/spire-raft/fsm"
	fsmv1 "github.com/spire-raft/spire-raft/proto/fsm/v1"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/txn"
)

// populate brings records into every bucket.
func populate(tb testing.TB, m *fsm.Machine) {
	tb.Helper()
	now := time.UnixMilli(1_700_000_000_000)
	start := m.Position().Index
	numbered := txn.Write{
		Kind: store.EventPut, Key: []byte("event/........"), Value: []byte("........"),
		Patches: []store.Patch{{Target: store.PatchKey, Offset: 6}, {Target: store.PatchValue}},
	}
	applyAll(tb, m,
		fsm.Entry{Index: start + 1, Term: 1, Kind: fsm.EntryConfiguration, Data: []byte("a, b and c")},
		entry(start+2, fsm.EncodeTermStart()),
		entry(start+3, writes(tb, put("a", "1"), put("b", ""), put("c", "3"))),
		entry(start+4, transaction(tb, &txn.Intent{Counters: [][]byte{[]byte("events")}, Writes: []txn.Write{numbered}})),
		entry(start+5, writes(tb, del("c"), put("d", strings.Repeat("large", 10_000)))),
		entry(start+6,
			fsm.EncodeAddJoinToken(fsm.TokenHash{1}, "", "", now.Add(time.Hour), now),
			fsm.EncodeUseJoinToken(fsm.TokenHash{1}, "d", "", fsm.KeyHash{}, now),
			fsm.EncodeRemoveNode("c"),
			fsm.EncodeSetHistoryBudget(1<<20)),
	)
}

func TestApply_SkipsWhatIsApplied(t *testing.T) {
	m := open(t)
	log := []fsm.Entry{
		entry(1, writes(t, put("a", "1"))),
		entry(2, writes(t, put("a", "2"))),
		entry(5, writes(t, put("a", "3"))),
	}
	first := applyAll(t, m, log[:2]...)
	if first[0] == nil || first[1] == nil {
		t.Fatalf("results %v", first)
	}
	before := m.Position()
	if again := applyAll(t, m, log[:2]...); again[0] != nil || again[1] != nil {
		t.Fatalf("a replay has results %v", again)
	}
	if m.Position() != before {
		t.Fatalf("a replay moved the position to %+v from %+v", m.Position(), before)
	}
	rest := applyAll(t, m, log...)
	if rest[0] != nil || rest[1] != nil || len(rest[2]) != 1 || rest[2][0].Revision != 3 {
		t.Fatalf("results %v", rest)
	}
	if p := m.Position(); p.Index != 5 || p.Cursor.Revision != 3 {
		t.Fatalf("position %+v", p)
	}
}

func TestApply_ResultsForEachCommand(t *testing.T) {
	m := open(t)
	res := applyAll(t, m,
		entry(1, writes(t, put("a", "1")), writes(t, put("b", "1"))),
		fsm.Entry{Index: 2, Term: 1, Kind: fsm.EntryConfiguration, Data: []byte("x")},
		entry(3),
	)
	if len(res) != 3 || len(res[0]) != 2 || res[0][0].Revision != 1 || res[0][1].Revision != 2 || len(res[1])+len(res[2]) != 0 {
		t.Fatalf("results %v", res)
	}
}

// marshal encodes a command as it is, without checks.
func marshal(tb testing.TB, c *fsmv1.Command) []byte {
	tb.Helper()
	b, err := proto.Marshal(c)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestApply_StopsAtWhatItCantApply(t *testing.T) {
	good := writes(t, put("a", "1"))
	unknownKind := protowire.AppendBytes(protowire.AppendTag(nil, 99, protowire.BytesType), []byte("of tomorrow"))
	unknownField := slices.Concat(good, protowire.AppendVarint(protowire.AppendTag(nil, 98, protowire.VarintType), 1))
	deepField := marshal(t, &fsmv1.Command{Kind: &fsmv1.Command_Transaction{Transaction: &fsmv1.Transaction{
		Writes: []*fsmv1.Write{withUnknown(&fsmv1.Write{Kind: fsmv1.Write_KIND_PUT, Key: []byte("k")})},
	}}})
	flipped := fsm.EncodeEnvelope([][]byte{good})
	flipped[len(flipped)-1] ^= 1
	later := fsm.EncodeEnvelope([][]byte{good})
	later[0]++

	for _, c := range []struct {
		name string
		data []byte
		want error
		text string
	}{
		{"an envelope of a later version", fsm.EncodeEnvelopeVersion(2, good), fsm.ErrTooNew, "version 2, this program knows 1"},
		{"an envelope of a later format", later, fsm.ErrTooNew, "format 2, this program knows 1"},
		{"a command of an unknown kind", fsm.EncodeEnvelope([][]byte{good, unknownKind}), fsm.ErrTooNew, "field 99"},
		{"a command with an unknown field", fsm.EncodeEnvelope([][]byte{unknownField}), fsm.ErrTooNew, "field 98"},
		{"a write with an unknown field", fsm.EncodeEnvelope([][]byte{deepField}), fsm.ErrTooNew, "field 77"},
		{"a feature level that is not known", fsm.EncodeEnvelope([][]byte{good, fsm.EncodeRaiseFeatureLevel(fsm.FeatureLevelMax + 1)}), fsm.ErrTooNew, "feature level 2"},
		{"a flipped bit", flipped, store.ErrCorrupt, "checksum"},
		{"an empty entry", nil, store.ErrCorrupt, "0 bytes"},
		{"a command that is none", fsm.EncodeEnvelope([][]byte{{0xff}}), store.ErrCorrupt, "decoded"},
		{"a command without a kind", fsm.EncodeEnvelope([][]byte{{}}), store.ErrCorrupt, "kind"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			m := openIn(t, dir)
			_, err := m.Apply([]fsm.Entry{
				entry(1, good),
				{Index: 2, Term: 1, Kind: fsm.EntryCommands, Data: c.data},
				entry(3, good),
			})
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) || !strings.Contains(err.Error(), "entry 2 ") {
				t.Fatalf("Apply returned %v", err)
			}
			if !errors.Is(m.Err(), err) {
				t.Fatalf("Err returned %v", m.Err())
			}
			if _, again := m.Apply([]fsm.Entry{entry(3, good)}); !errors.Is(again, err) {
				t.Fatalf("Apply went on with %v", again)
			}
			closeMachine(t, m)

			m = openIn(t, dir)
			applyAll(t, m, entry(1, good)) // what a failed machine has not written comes again
			if p := m.Position(); p.Index != 1 || p.Cursor.Revision != 1 {
				t.Fatalf("position %+v, want that of the entry before", p)
			}
			scrub(t, m)
		})
	}
}

// withUnknown adds field 77 to a message.
func withUnknown[M proto.Message](m M) M {
	m.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 77, protowire.VarintType), 1))
	return m
}

func TestApply_RefusesEntriesOutOfOrder(t *testing.T) {
	m := open(t)
	if _, err := m.Apply([]fsm.Entry{entry(2), entry(1)}); !errors.Is(err, store.ErrInvalid) {
		t.Fatalf("Apply returned %v", err)
	}
	if _, err := open(t).Apply([]fsm.Entry{{Index: 1}}); !errors.Is(err, store.ErrInvalid) {
		t.Fatalf("Apply of an entry without a kind returned %v", err)
	}
}

// invalid are commands that no state makes right.
func invalid(tb testing.TB) map[string]struct {
	cmd  []byte
	want error
} {
	tx := func(t *fsmv1.Transaction) []byte {
		return marshal(tb, &fsmv1.Command{Kind: &fsmv1.Command_Transaction{Transaction: t}})
	}
	w := func(w ...*fsmv1.Write) []byte { return tx(&fsmv1.Transaction{Writes: w}) }
	put := fsmv1.Write_KIND_PUT
	long := make([]byte, store.KeyBytesMax+1)
	return map[string]struct {
		cmd  []byte
		want error
	}{
		"an empty key":                    {w(&fsmv1.Write{Kind: put}), store.ErrInvalid},
		"a long key":                      {w(&fsmv1.Write{Kind: put, Key: long}), store.ErrTooLarge},
		"a long value":                    {w(&fsmv1.Write{Kind: put, Key: []byte("k"), Value: make([]byte, store.ValueBytesMax+1)}), store.ErrTooLarge},
		"a write of no kind":              {w(&fsmv1.Write{Key: []byte("k")}), store.ErrInvalid},
		"a write of another kind":         {w(&fsmv1.Write{Kind: 257, Key: []byte("k")}), store.ErrInvalid},
		"a delete with a value":           {w(&fsmv1.Write{Kind: fsmv1.Write_KIND_DELETE, Key: []byte("k"), Value: []byte("v")}), store.ErrInvalid},
		"two writes of one key":           {w(&fsmv1.Write{Kind: put, Key: []byte("k")}, &fsmv1.Write{Kind: put, Key: []byte("k")}), store.ErrInvalid},
		"writes out of order":             {w(&fsmv1.Write{Kind: put, Key: []byte("l")}, &fsmv1.Write{Kind: put, Key: []byte("k")}), store.ErrInvalid},
		"a patch of no number":            {w(&fsmv1.Write{Kind: put, Key: []byte("k......."), Patches: []*fsmv1.Patch{{Target: 1}}}), store.ErrInvalid},
		"a patch behind the end":          {tx(&fsmv1.Transaction{Counters: [][]byte{[]byte("c")}, Writes: []*fsmv1.Write{{Kind: put, Key: []byte("k......."), Patches: []*fsmv1.Patch{{Target: 1, Offset: 1}}}}}), store.ErrInvalid},
		"a patch of another target":       {tx(&fsmv1.Transaction{Counters: [][]byte{[]byte("c")}, Writes: []*fsmv1.Write{{Kind: put, Key: []byte("k......."), Patches: []*fsmv1.Patch{{Target: 258}}}}}), store.ErrInvalid},
		"a patch with a huge sequence":    {tx(&fsmv1.Transaction{Counters: [][]byte{[]byte("c")}, Writes: []*fsmv1.Write{{Kind: put, Key: []byte("k......."), Patches: []*fsmv1.Patch{{Target: 1, Sequence: math.MaxUint32}}}}}), store.ErrInvalid},
		"an empty counter":                {tx(&fsmv1.Transaction{Counters: [][]byte{{}}}), store.ErrInvalid},
		"a long counter":                  {tx(&fsmv1.Transaction{Raises: []*fsmv1.Raise{{Counter: long}}}), store.ErrTooLarge},
		"an empty point":                  {tx(&fsmv1.Transaction{Points: []*fsmv1.Point{{}}}), store.ErrInvalid},
		"too many operations":             {tx(&fsmv1.Transaction{Counters: slices.Repeat([][]byte{[]byte("c")}, store.TxOpsMax+1)}), store.ErrTooLarge},
		"too many bytes":                  {tx(&fsmv1.Transaction{Points: slices.Repeat([]*fsmv1.Point{{Key: long[1:]}}, store.TxBytesMax/store.KeyBytesMax)}), store.ErrTooLarge},
		"a field of no level yet":         {marshal(tb, &fsmv1.Command{AckedBelow: 1, Kind: &fsmv1.Command_TermStart{TermStart: &fsmv1.TermStart{}}}), store.ErrInvalid},
		"a token hash of another size":    {marshal(tb, &fsmv1.Command{Kind: &fsmv1.Command_AddJoinToken{AddJoinToken: &fsmv1.AddJoinToken{Hash: []byte("short"), ExpiresUnixMs: 1}}}), store.ErrInvalid},
		"a removed node without an id":    {fsm.EncodeRemoveNode(""), store.ErrInvalid},
		"a cluster without an instance":   {fsm.EncodeInitCluster("", fsm.Authority{}, "n", "", fsm.KeyHash{}), store.ErrInvalid},
		"a cluster without a first node":  {fsm.EncodeInitCluster("i", fsm.Authority{}, "", "", fsm.KeyHash{}), store.ErrInvalid},
		"an authority with a huge key":    {fsm.EncodeInitCluster("i", fsm.Authority{Key: make([]byte, 64<<10+1)}, "n", "", fsm.KeyHash{}), store.ErrTooLarge},
		"a token for a long id":           {fsm.EncodeAddJoinToken(fsm.TokenHash{}, strings.Repeat("n", fsm.NodeIDBytesMax+1), "", time.UnixMilli(1), time.UnixMilli(0)), store.ErrInvalid},
		"a token id of another size":      {marshal(tb, &fsmv1.Command{Kind: &fsmv1.Command_RevokeJoinToken{RevokeJoinToken: &fsmv1.RevokeJoinToken{Id: []byte("short")}}}), store.ErrInvalid},
		"a key hash of another size":      {marshal(tb, &fsmv1.Command{Kind: &fsmv1.Command_UseJoinToken{UseJoinToken: &fsmv1.UseJoinToken{Hash: make([]byte, 32), NodeId: "n", KeyHash: []byte("short")}}}), store.ErrInvalid},
		"an opening by nobody":            {fsm.EncodeRecordOpening("", "", opened(1)), store.ErrInvalid},
		"no opening":                      {fsm.EncodeRecordOpening("n", "", nil), store.ErrInvalid},
		"too many openings":               {fsm.EncodeRecordOpening("n", "", opened(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17)), store.ErrInvalid},
		"openings in no order":            {fsm.EncodeRecordOpening("n", "", opened(2, 2)), store.ErrInvalid},
		"an opening without a number":     {fsm.EncodeRecordOpening("n", "", opened(0)), store.ErrInvalid},
		"no step of a rotation":           {fsm.EncodeChangeAuthority(0, []byte("c"), nil), store.ErrInvalid},
		"an unknown step of a rotation":   {fsm.EncodeChangeAuthority(4, []byte("c"), nil), store.ErrInvalid},
		"a new authority without a key":   {fsm.EncodeChangeAuthority(fsm.AuthorityAdd, []byte("c"), nil), store.ErrInvalid},
		"a rotation to nothing":           {fsm.EncodeChangeAuthority(fsm.AuthorityPromote, nil, nil), store.ErrInvalid},
		"a new authority with a huge key": {fsm.EncodeChangeAuthority(fsm.AuthorityAdd, []byte("c"), make([]byte, 64<<10+1)), store.ErrTooLarge},
		"a joining node with a long id":   {fsm.EncodeUseJoinToken(fsm.TokenHash{}, strings.Repeat("n", fsm.NodeIDBytesMax+1), "", fsm.KeyHash{}, time.UnixMilli(0)), store.ErrInvalid},
		"gossip keys that are none":       {fsm.EncodeSetGossipKeys(0, fsm.GossipKeys{}), store.ErrInvalid},
		"three gossip keys":               {fsm.EncodeSetGossipKeys(0, fsm.GossipKeys{Keys: gossipKeys(1, 2, 3)}), store.ErrInvalid},
		"the same gossip key twice":       {fsm.EncodeSetGossipKeys(0, fsm.GossipKeys{Keys: gossipKeys(1, 1)}), store.ErrInvalid},
		"a short gossip key":              {fsm.EncodeSetGossipKeys(0, fsm.GossipKeys{Keys: [][]byte{{1}}}), store.ErrInvalid},
		"a gossip key that is not there":  {fsm.EncodeSetGossipKeys(0, fsm.GossipKeys{Keys: gossipKeys(1), Primary: 1}), store.ErrInvalid},
	}
}

func TestInvalidCommands(t *testing.T) {
	for name, c := range invalid(t) {
		t.Run(name, func(t *testing.T) {
			if err := fsm.CheckCommand(c.cmd); !errors.Is(err, c.want) {
				t.Errorf("CheckCommand returned %v, want %v", err, c.want)
			}
			m := open(t)
			before := m.Position().Hash
			if res := apply(t, m, c.cmd); res[0].Outcome != fsm.Invalid || res[0].Detail == "" {
				t.Errorf("result %+v", res[0])
			}
			if m.Position().Hash != before {
				t.Error("it changed the state")
			}
		})
	}
}

func TestCheckCommand(t *testing.T) {
	for name, c := range map[string]struct {
		cmd  []byte
		want error
	}{
		"a transaction":    {writes(t, put("a", "1")), nil},
		"a term start":     {fsm.EncodeTermStart(), nil},
		"the known level":  {fsm.EncodeRaiseFeatureLevel(fsm.FeatureLevelMax), nil},
		"nothing":          {nil, store.ErrInvalid},
		"garbage":          {[]byte{0xff, 0xff}, store.ErrInvalid},
		"a later level":    {fsm.EncodeRaiseFeatureLevel(fsm.FeatureLevelMax + 1), fsm.ErrTooNew},
		"an unknown field": {marshal(t, withUnknown(&fsmv1.Command{Kind: &fsmv1.Command_TermStart{}})), fsm.ErrTooNew},
		"text not UTF-8":   {fsm.EncodeRemoveNode("\xff"), store.ErrInvalid},
	} {
		if err := fsm.CheckCommand(c.cmd); !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s: CheckCommand returned %v, want %v", name, err, c.want)
		}
	}
}

// Every message that a command is made of must be searched for unknown fields:
// a new one that is not would be skipped by old servers.
func TestCheckCommand_FindsUnknownFieldsEverywhere(t *testing.T) {
	full := func() *fsmv1.Transaction {
		return &fsmv1.Transaction{
			Points: []*fsmv1.Point{{Key: []byte("k")}}, Ranges: []*fsmv1.Range{{}}, Raises: []*fsmv1.Raise{{Counter: []byte("c")}},
			Counters: [][]byte{[]byte("c")},
			Writes: []*fsmv1.Write{{
				Kind: fsmv1.Write_KIND_PUT, Key: []byte("k"), Value: make([]byte, 8), Patches: []*fsmv1.Patch{{Target: fsmv1.Patch_TARGET_VALUE}},
			}},
		}
	}
	hash := make([]byte, 32)
	for _, c := range []*fsmv1.Command{
		{Kind: &fsmv1.Command_Transaction{Transaction: full()}},
		{Kind: &fsmv1.Command_TermStart{TermStart: &fsmv1.TermStart{}}},
		{Kind: &fsmv1.Command_RaiseFeatureLevel{RaiseFeatureLevel: &fsmv1.RaiseFeatureLevel{Level: 1}}},
		{Kind: &fsmv1.Command_SetHistoryBudget{SetHistoryBudget: &fsmv1.SetHistoryBudget{Bytes: 1}}},
		{Kind: &fsmv1.Command_AddJoinToken{AddJoinToken: &fsmv1.AddJoinToken{Hash: hash}}},
		{Kind: &fsmv1.Command_UseJoinToken{UseJoinToken: &fsmv1.UseJoinToken{Hash: hash, NodeId: "n", KeyHash: hash}}},
		{Kind: &fsmv1.Command_RemoveNode{RemoveNode: &fsmv1.RemoveNode{NodeId: "n"}}},
		{Kind: &fsmv1.Command_InitCluster{InitCluster: &fsmv1.InitCluster{Instance: "i", NodeId: "n", KeyHash: hash}}},
		{Kind: &fsmv1.Command_RevokeJoinToken{RevokeJoinToken: &fsmv1.RevokeJoinToken{Id: hash[:8]}}},
		{Kind: &fsmv1.Command_RecordOpening{RecordOpening: &fsmv1.RecordOpening{NodeId: "n", Openings: append(make([]byte, 7), append([]byte{1}, hash[:16]...)...)}}},
		{Kind: &fsmv1.Command_ChangeAuthority{ChangeAuthority: &fsmv1.ChangeAuthority{Step: fsmv1.ChangeAuthority_STEP_DROP, Certificate: []byte("c")}}},
		{Kind: &fsmv1.Command_SetGossipKeys{SetGossipKeys: &fsmv1.SetGossipKeys{Keys: [][]byte{hash}}}},
		{Kind: &fsmv1.Command_RotateGossipKey{RotateGossipKey: &fsmv1.RotateGossipKey{}}},
	} {
		if err := fsm.CheckCommand(marshal(t, c)); err != nil {
			t.Fatalf("%v: %v", c, err)
		}
		for name, planted := range plantUnknown(c) {
			if err := fsm.CheckCommand(marshal(t, planted)); !errors.Is(err, fsm.ErrTooNew) {
				t.Errorf("an unknown field in %s: %v", name, err)
			}
		}
	}
	if n := (&fsmv1.Command{}).ProtoReflect().Descriptor().Oneofs().Get(0).Fields().Len(); n != 13 {
		t.Errorf("there are %d kinds of command: add the new ones above", n)
	}
}

func TestRaiseFeatureLevel(t *testing.T) {
	m := open(t)
	if l := m.Position().FeatureLevel; l != fsm.FeatureLevelMin {
		t.Fatalf("a new machine has level %d", l)
	}
	if res := apply(t, m, fsm.EncodeRaiseFeatureLevel(fsm.FeatureLevelMax)); res[0].Outcome != fsm.Committed {
		t.Errorf("result %+v", res[0])
	}
	if res := apply(t, m, fsm.EncodeRaiseFeatureLevel(0)); res[0].Outcome != fsm.Invalid {
		t.Errorf("lowering it: result %+v", res[0])
	}
}

func TestTermStart(t *testing.T) {
	m := open(t)
	e := entry(1, fsm.EncodeTermStart())
	e.Term = 7
	applyAll(t, m, e, entry(2, writes(t, put("a", "1"))))
	if p := m.Position(); p.TermStartIndex != 1 || p.TermStartTerm != 7 {
		t.Fatalf("position %+v", p)
	}
}

func TestConfiguration(t *testing.T) {
	m := open(t)
	check := func(wantIndex uint64, want string) {
		t.Helper()
		v, err := m.View()
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		index, data := v.Position().ConfigurationIndex, v.Configuration()
		if index != wantIndex || string(data) != want {
			t.Fatalf("configuration %d %q, want %d %q", index, data, wantIndex, want)
		}
	}
	check(0, "")
	applyAll(t, m,
		fsm.Entry{Index: 1, Term: 1, Kind: fsm.EntryConfiguration, Data: []byte("one")},
		entry(2),
		fsm.Entry{Index: 3, Term: 1, Kind: fsm.EntryConfiguration, Data: []byte("two")},
	)
	check(3, "two")
	scrub(t, m)
}
