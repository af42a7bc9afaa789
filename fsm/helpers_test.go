package fsm_test

import (
	"bytes"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/spire-raft/spire-raft/fsm"
	fsmv1 "github.com/spire-raft/spire-raft/proto/fsm/v1"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/txn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const cluster = "test-cluster"

// options are those of most tests. Nothing here loses power, so nothing syncs.
// Little is kept in memory, so that data is read from there and from the file,
// and while it goes from one to the other.
func options(dir string) fsm.Options {
	return fsm.Options{Dir: dir, ClusterID: cluster, FlushBytes: 2048}.ForTests()
}

// written are options with which Apply writes to the file.
func written(dir string) fsm.Options {
	opts := options(dir)
	opts.FlushBytes = -1
	return opts
}

// openIn opens the machine in dir, to be closed at the end of the test.
func openIn(tb testing.TB, dir string) *fsm.Machine {
	tb.Helper()
	return openWith(tb, options(dir))
}

func openWith(tb testing.TB, opts fsm.Options) *fsm.Machine {
	tb.Helper()
	m, err := fsm.Open(opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { closeMachine(tb, m) })
	return m
}

func open(tb testing.TB) *fsm.Machine {
	tb.Helper()
	return openIn(tb, tb.TempDir())
}

func closeMachine(tb testing.TB, m *fsm.Machine) {
	tb.Helper()
	if err := m.Close(); err != nil {
		tb.Fatal(err)
	}
}

// entry is a log entry of term 1 with the given commands.
func entry(index uint64, cmds ...[]byte) fsm.Entry {
	return fsm.Entry{Index: index, Term: 1, Kind: fsm.EntryCommands, Data: fsm.EncodeEnvelope(cmds)}
}

func transaction(tb testing.TB, in *txn.Intent) []byte {
	tb.Helper()
	cmd, err := fsm.EncodeTransaction(in)
	if err != nil {
		tb.Fatal(err)
	}
	return cmd
}

func put(key, value string) txn.Write {
	return txn.Write{Kind: store.EventPut, Key: []byte(key), Value: []byte(value)}
}

func del(key string) txn.Write { return txn.Write{Kind: store.EventDelete, Key: []byte(key)} }

// writes is a command that only writes.
func writes(tb testing.TB, w ...txn.Write) []byte {
	tb.Helper()
	return transaction(tb, &txn.Intent{Writes: w})
}

// apply applies commands as one entry behind those applied, and returns their
// results.
func apply(tb testing.TB, m *fsm.Machine, cmds ...[]byte) []fsm.Result {
	tb.Helper()
	res, err := m.Apply([]fsm.Entry{entry(m.Position().Index+1, cmds...)})
	if err != nil {
		tb.Fatal(err)
	}
	return res[0]
}

func applyAll(tb testing.TB, m *fsm.Machine, entries ...fsm.Entry) [][]fsm.Result {
	tb.Helper()
	res, err := m.Apply(entries)
	if err != nil {
		tb.Fatal(err)
	}
	return res
}

// contents returns every pair of the machine.
func contents(tb testing.TB, m *fsm.Machine) []store.KeyValue {
	tb.Helper()
	kvs, err := scan(m, store.Range{})
	if err != nil {
		tb.Fatal(err)
	}
	return kvs
}

func scan(m *fsm.Machine, r store.Range) ([]store.KeyValue, error) {
	v, err := m.View()
	if err != nil {
		return nil, err
	}
	defer v.Close()
	var kvs []store.KeyValue
	err = v.Scan(r, func(kv store.KeyValue) bool {
		kvs = append(kvs, store.KeyValue{Key: bytes.Clone(kv.Key), Value: bytes.Clone(kv.Value), ModRevision: kv.ModRevision})
		return true
	})
	return kvs, err
}

// stream returns a snapshot of the machine.
func stream(tb testing.TB, m *fsm.Machine) []byte {
	tb.Helper()
	s, err := m.Snapshot()
	if err != nil {
		tb.Fatal(err)
	}
	defer s.Close()
	var buf bytes.Buffer
	n, err := s.WriteTo(&buf)
	if err != nil {
		tb.Fatal(err)
	}
	if n != int64(buf.Len()) || n != s.Size() {
		tb.Fatalf("WriteTo returned %d and wrote %d bytes of Size %d", n, buf.Len(), s.Size())
	}
	return buf.Bytes()
}

func scrub(tb testing.TB, m *fsm.Machine) {
	tb.Helper()
	if _, err := m.Scrub(tb.Context()); err != nil {
		tb.Fatal(err)
	}
}

// plantUnknown returns copies of c, each with an unknown field in another one
// of its messages.
func plantUnknown(c *fsmv1.Command) map[string]*fsmv1.Command {
	planted := map[string]*fsmv1.Command{}
	n := 0 // of the messages in c
	visit(c.ProtoReflect(), func(protoreflect.Message) { n++ })
	for target := range n {
		clone := proto.Clone(c).(*fsmv1.Command)
		i := 0
		visit(clone.ProtoReflect(), func(m protoreflect.Message) {
			if i == target {
				withUnknown(m.Interface())
				planted[string(m.Descriptor().FullName())] = clone
			}
			i++
		})
	}
	return planted
}

// visit calls fn for a message and those in it.
func visit(m protoreflect.Message, fn func(protoreflect.Message)) {
	fn(m)
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case f.Message() == nil || !m.Has(f):
		case f.IsList():
			for j := range m.Get(f).List().Len() {
				visit(m.Get(f).List().Get(j).Message(), fn)
			}
		default:
			visit(m.Get(f).Message(), fn)
		}
	}
}
