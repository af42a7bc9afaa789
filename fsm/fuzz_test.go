package fsm_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/spire-raft/spire-raft/fsm"
	fsmv1 "github.com/spire-raft/spire-raft/proto/fsm/v1"
	"github.com/spire-raft/spire-raft/store"
)

// FuzzCheckCommand: what CheckCommand lets through must be applied without
// stopping the machine, and its encoding must be stable.
func FuzzCheckCommand(f *testing.F) {
	for _, c := range invalid(f) {
		if len(c.cmd) < 1000 {
			f.Add(c.cmd)
		}
	}
	f.Add(writes(f, put("a", "1"), del("b")))
	f.Add(fsm.EncodeTermStart())
	f.Add(fsm.EncodeSetHistoryBudget(1))
	m := openIn(f, fuzzDir(f))
	f.Fuzz(func(t *testing.T, cmd []byte) {
		err := fsm.CheckCommand(cmd)
		switch {
		case err == nil:
			apply(t, m, cmd)
		case !errors.Is(err, store.ErrInvalid) && !errors.Is(err, store.ErrTooLarge) && !errors.Is(err, fsm.ErrTooNew):
			t.Fatalf("CheckCommand returned %v", err)
		}
	})
}

// FuzzCheckEntry: what CheckEntry lets through must not stop the machine. The
// checksum is put right, since nothing that is mutated would get past it.
func FuzzCheckEntry(f *testing.F) {
	for _, c := range invalid(f) {
		if len(c.cmd) < 1000 {
			f.Add(fsm.EncodeEnvelope([][]byte{c.cmd}), true)
		}
	}
	f.Add(fsm.EncodeEnvelope([][]byte{writes(f, put("a", "1"), del("b")), fsm.EncodeTermStart()}), true)
	f.Add(fsm.EncodeEnvelope([][]byte{fsm.EncodeRaiseFeatureLevel(2)}), true)
	f.Add(fsm.EncodeEnvelope(nil), false)
	m := openIn(f, fuzzDir(f))
	f.Fuzz(func(t *testing.T, data []byte, sum bool) {
		if sum && len(data) >= 5 {
			data = bytes.Clone(data)
			binary.BigEndian.PutUint32(data[1:], crc32.Checksum(append(data[:1:1], data[5:]...), crc32.MakeTable(crc32.Castagnoli)))
		}
		err := fsm.CheckEntry(data)
		if err != nil {
			if !errors.Is(err, store.ErrCorrupt) && !errors.Is(err, store.ErrTooLarge) && !errors.Is(err, fsm.ErrTooNew) {
				t.Fatalf("CheckEntry returned %v", err)
			}
			return
		}
		if _, err := m.Apply([]fsm.Entry{{Index: m.Position().Index + 1, Term: 1, Kind: fsm.EntryCommands, Data: data}}); err != nil {
			t.Fatalf("the machine stops: %v", err)
		}
	})
}

// fuzzDir is in memory where the system has such: some file systems write a
// file to disk that replaces another one, which takes longer than all else.
func fuzzDir(tb testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "fsm-fuzz-")
	if err != nil {
		return tb.TempDir()
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	return dir
}

// renewable is a machine that outlives the runs of a fuzz test.
type renewable struct {
	*fsm.Machine
	dir string
}

func newRenewable(f *testing.F) *renewable {
	r := &renewable{dir: fuzzDir(f)}
	r.open(f)
	f.Cleanup(func() { closeMachine(f, r.Machine) })
	return r
}

func (r *renewable) open(tb testing.TB) {
	m, err := fsm.Open(options(r.dir))
	if err != nil {
		tb.Fatal(err)
	}
	r.Machine = m
}

// renew makes the machine new.
func (r *renewable) renew(tb testing.TB) {
	closeMachine(tb, r.Machine)
	if err := os.Remove(r.dir + "/state.db"); err != nil {
		tb.Fatal(err)
	}
	r.open(tb)
}

// renewEach is after how many stops a machine is made new. It costs a thousand
// times as much as an entry.
const renewEach = 1000

// FuzzApply: whatever an entry holds is applied, or stops the machine with a
// reason before anything of it is applied. CheckEntry says beforehand which.
func FuzzApply(f *testing.F) {
	f.Add(fsm.EncodeEnvelope(nil), false)
	f.Add(goldenLog(f)[1].Data, true)
	f.Add(fsm.EncodeEnvelopeVersion(2, fsm.EncodeTermStart()), true)
	m := newRenewable(f)
	stops := 0
	f.Fuzz(func(t *testing.T, data []byte, seal bool) {
		if seal { // past the checksum
			data = fsm.SealEnvelope(bytes.Clone(data))
		}
		if m.Err() != nil {
			if stops++; stops%renewEach == 0 {
				m.renew(t)
			} else {
				fsm.Revive(m.Machine)
			}
		}
		before := m.Position()
		_, err := m.Apply([]fsm.Entry{{Index: before.Index + 1, Term: 1, Kind: fsm.EntryCommands, Data: data}})
		switch {
		case err == nil:
		case fsm.CheckEntry(data) == nil:
			t.Fatalf("CheckEntry lets through what stops the machine: %v", err)
		case !errors.Is(err, store.ErrCorrupt) && !errors.Is(err, fsm.ErrTooNew):
			t.Fatalf("Apply returned %v", err)
		case m.Position() != before:
			t.Fatalf("Apply went from %+v to %+v and returned %v", before, m.Position(), err)
		}
	})
}

// FuzzEnvelope: commands come out of an envelope as they went in, and its body
// is the protobuf message that it is said to be.
func FuzzEnvelope(f *testing.F) {
	f.Add([]byte("one"), []byte("two"))
	f.Add([]byte{}, []byte{0xff})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		const head = 5
		data := fsm.EncodeEnvelope([][]byte{a, b})
		var e fsmv1.Envelope
		if err := proto.Unmarshal(data[head:], &e); err != nil {
			t.Fatal(err)
		}
		cmds, err := fsm.DecodeEnvelope(data)
		if err != nil || e.Version != 1 || len(e.Commands) != 2 || len(cmds) != 2 {
			t.Fatalf("%v, %v, %v", &e, cmds, err)
		}
		for i, want := range [][]byte{a, b} {
			if !bytes.Equal(e.Commands[i], want) || !bytes.Equal(cmds[i], want) {
				t.Fatalf("command %d is %q and %q, want %q", i, e.Commands[i], cmds[i], want)
			}
		}
	})
}

// FuzzInstall: no stream crashes the machine or changes it in part.
func FuzzInstall(f *testing.F) {
	from := open(f)
	apply(f, from, writes(f, put("a", "1")))
	good := stream(f, from)
	f.Add(good, false)
	f.Add(good[:100], false)
	f.Add(good[32:], true)
	m := newRenewable(f)
	before := m.Position()
	f.Fuzz(func(t *testing.T, data []byte, seal bool) {
		if seal { // past the checksum, to the image behind it
			data = fsm.SealSnapshot(cluster, data)
		}
		err := install(m.Machine, data)
		if err == nil && m.Position() != before {
			m.renew(t) // it was installed
			return
		}
		if err == nil || m.Err() != nil || m.Position() != before {
			t.Fatalf("Install returned %v, Err %v, position %+v", err, m.Err(), m.Position())
		}
	})
}

// FuzzOpen: no file crashes Open or what reads it afterwards.
func FuzzOpen(f *testing.F) {
	from := open(f)
	apply(f, from, writes(f, put("a", "1")))
	image := stream(f, from)
	image = image[bytes.Index(image, fsm.MetaMagic)-16 : len(image)-32]
	f.Add(image, 0, byte(0))
	for page := range len(image) / 4096 {
		f.Add(image, page*4096+10, byte(1))
	}
	dir := fuzzDir(f)
	f.Fuzz(func(t *testing.T, image []byte, at int, flip byte) {
		if at >= 0 && at < len(image) {
			image = bytes.Clone(image)
			image[at] ^= flip
		}
		if err := os.WriteFile(dir+"/state.db", image, 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := fsm.Open(options(dir))
		if err != nil {
			return
		}
		defer closeMachine(t, m)
		for _, kv := range contents(t, m) {
			if err := get(string(kv.Key))(m); err != nil {
				t.Fatal(err)
			}
		}
	})
}
