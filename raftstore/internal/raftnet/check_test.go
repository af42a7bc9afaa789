package raftnet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	raftv1 "github.com/spire-raft/spire-raft/proto/raft/v1"
)

// dump shows all of a value that is data.
func dump(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%T %s", v, b)
}

func configuration(servers ...raft.Server) []byte {
	return raft.EncodeConfiguration(raft.Configuration{Servers: servers})
}

func voter(id string) raft.Server {
	return raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress(id)}
}

func validAppend(node string) *raftv1.AppendEntriesRequest {
	return &raftv1.AppendEntriesRequest{
		NodeId: node, Term: 5, PreviousIndex: 7, PreviousTerm: 3, CommitIndex: 6,
		Entries: []*raftv1.Entry{
			{Term: 4, Type: uint32(raft.LogNoop)},
			{Term: 5, Type: uint32(raft.LogCommand), Data: []byte("ok"), AppendedUnixNs: 9},
			{Term: 5, Type: uint32(raft.LogConfiguration), Data: configuration(voter("a"), voter("b"))},
		},
	}
}

func validVote(node string) *raftv1.VoteRequest {
	return &raftv1.VoteRequest{NodeId: node, Term: 5, LastIndex: 7, LastTerm: 4}
}

func validBegin(node string) *raftv1.SnapshotBegin {
	return &raftv1.SnapshotBegin{
		NodeId: node, TransferId: bytes.Repeat([]byte{7}, transferIDBytes), Term: 5, LastIndex: 9, LastTerm: 4,
		Configuration: configuration(voter("a")), ConfigurationIndex: 3, Size: 10,
	}
}

// change returns a copy of a message with a change.
func change[M proto.Message](m M, f func(M)) M {
	m = proto.Clone(m).(M)
	f(m)
	return m
}

// nonsense is what a member may send and no sane one does.
func nonsense() map[string]struct {
	typ frameType
	m   proto.Message
} {
	type sent = struct {
		typ frameType
		m   proto.Message
	}
	out := make(map[string]sent)
	app := func(name string, f func(*raftv1.AppendEntriesRequest)) {
		out["append: "+name] = sent{appendEntries, change(validAppend("evil"), f)}
	}
	app("another node's name", func(m *raftv1.AppendEntriesRequest) { m.NodeId = "a" })
	app("no name", func(m *raftv1.AppendEntriesRequest) { m.NodeId = "" })
	app("term 0", func(m *raftv1.AppendEntriesRequest) { m.Term = 0 })
	app("the last term", func(m *raftv1.AppendEntriesRequest) { m.Term = math.MaxUint64 })
	app("a term too far ahead", func(m *raftv1.AppendEntriesRequest) { m.Term = 5 + requestTermsMax + 1 })
	app("a previous index without a term", func(m *raftv1.AppendEntriesRequest) { m.PreviousTerm = 0 })
	app("a previous term without an index", func(m *raftv1.AppendEntriesRequest) { m.PreviousIndex = 0 })
	app("a previous term of the future", func(m *raftv1.AppendEntriesRequest) { m.PreviousTerm = 6 })
	app("the last index", func(m *raftv1.AppendEntriesRequest) { m.PreviousIndex = math.MaxUint64 })
	app("a commit index of the future", func(m *raftv1.AppendEntriesRequest) { m.CommitIndex = math.MaxUint64 })
	app("an entry of term 0", func(m *raftv1.AppendEntriesRequest) { m.Entries[0].Term = 0 })
	app("an entry of an earlier term", func(m *raftv1.AppendEntriesRequest) { m.Entries[1].Term = 3 })
	app("an entry of a later term", func(m *raftv1.AppendEntriesRequest) { m.Entries[2].Term = 6 })
	for _, typ := range []uint32{2, 3, 6, 255, 256, math.MaxUint32} {
		app(fmt.Sprintf("an entry of type %d", typ), func(m *raftv1.AppendEntriesRequest) { m.Entries[0].Type = typ })
	}
	app("a bad command", func(m *raftv1.AppendEntriesRequest) { m.Entries[1].Data = []byte("?") })
	app("a no-op with data", func(m *raftv1.AppendEntriesRequest) { m.Entries[0].Data = []byte("?") })
	app("too many entries", func(m *raftv1.AppendEntriesRequest) {
		for len(m.Entries) <= entriesMax {
			m.Entries = append(m.Entries, &raftv1.Entry{Term: 5, Type: uint32(raft.LogNoop)})
		}
	})
	for name, c := range badConfigurations() {
		app("a configuration: "+name, func(m *raftv1.AppendEntriesRequest) { m.Entries[2].Data = c })
		begin := func(m *raftv1.SnapshotBegin) { m.Configuration = c }
		if len(c) <= configurationBytesMax {
			out["snapshot: a configuration: "+name] = sent{snapshotBegin, change(validBegin("evil"), begin)}
		}
	}
	for _, typ := range []frameType{vote, preVote} {
		ask := func(name string, f func(*raftv1.VoteRequest)) {
			out[fmt.Sprintf("vote %d: %s", typ, name)] = sent{typ, change(validVote("evil"), f)}
		}
		ask("another node's name", func(m *raftv1.VoteRequest) { m.NodeId = "a" })
		ask("the last term", func(m *raftv1.VoteRequest) { m.Term = math.MaxUint64 })
		ask("the last index", func(m *raftv1.VoteRequest) { m.LastIndex = math.MaxUint64 })
		ask("a last entry of the future", func(m *raftv1.VoteRequest) { m.LastTerm = 6 })
	}
	begin := func(name string, f func(*raftv1.SnapshotBegin)) {
		out["snapshot: "+name] = sent{snapshotBegin, change(validBegin("evil"), f)}
	}
	begin("another node's name", func(m *raftv1.SnapshotBegin) { m.NodeId = "a" })
	begin("the last term", func(m *raftv1.SnapshotBegin) { m.Term = math.MaxUint64 })
	begin("of nothing", func(m *raftv1.SnapshotBegin) { m.LastIndex, m.LastTerm = 0, 0 })
	begin("a last entry of the future", func(m *raftv1.SnapshotBegin) { m.LastTerm = 6 })
	begin("a configuration of the future", func(m *raftv1.SnapshotBegin) { m.ConfigurationIndex = 10 })
	begin("no configuration index", func(m *raftv1.SnapshotBegin) { m.ConfigurationIndex = 0 })
	begin("a short id", func(m *raftv1.SnapshotBegin) { m.TransferId = m.TransferId[1:] })
	begin("no bytes", func(m *raftv1.SnapshotBegin) { m.Size = 0 })
	begin("all bytes there are", func(m *raftv1.SnapshotBegin) { m.Size = math.MaxUint64 })
	out["timeout now: another node's name"] = sent{timeoutNow, &raftv1.TimeoutNowRequest{NodeId: "a"}}
	out["an answer"] = sent{voteAnswer, &raftv1.VoteResponse{Term: 5, Granted: true}}
	out["a chunk of no snapshot"] = sent{snapshotChunk, &raftv1.SnapshotChunk{Data: []byte("x")}}
	return out
}

func badConfigurations() map[string][]byte {
	good := configuration(voter("a"))
	many := make([]raft.Server, serversMax+1)
	for i := range many {
		many[i] = voter(fmt.Sprint("n", i))
	}
	return map[string][]byte{
		"nothing":                        nil,
		"no msgpack":                     []byte("xyz"),
		"cut off":                        good[:len(good)-1],
		"something behind it":            append(bytes.Clone(good), 0),
		"a list of 4 billion":            []byte("\x81\xa7Servers\xdd\xff\xff\xff\xff"),
		"what a decoder never ends with": []byte("\x81\xa7Servers\x92\x83\xa7Add\xa2ID\xa1\xc9\xa8S\x00\x00\xff\xffage0\x83\xa7Address\xa40000\xa2ID\xa40\x0100\xa8Suffrage0"),
		"deep lists":                     append([]byte("\x81\xa1x"), bytes.Repeat([]byte{0x91}, 100_000)...),
		"too many bytes":                 make([]byte, configurationBytesMax+1),
		"no servers":                     configuration(),
		"no voter":                       configuration(raft.Server{ID: "a", Address: "a", Suffrage: raft.Nonvoter}),
		"an unknown suffrage":            configuration(voter("a"), raft.Server{ID: "b", Address: "b", Suffrage: 7}),
		"a server twice":                 configuration(voter("a"), voter("a")),
		"a server without an id":         configuration(voter("a"), voter("")),
		"an id that is no id":            configuration(voter("a"), voter("../b")),
		"a server somewhere else":        configuration(raft.Server{ID: "a", Address: "b"}),
		"too many servers":               configuration(many...),
	}
}

// TestNonsenseEndsTheStream sends all of it. The stream must end with a word to
// the peer and one in the log, and raft must not see any of it.
func TestNonsenseEndsTheStream(t *testing.T) {
	for name, c := range nonsense() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				to := n.open("b")
				arrived, stop := to.serve(5)
				defer stop()
				w := n.stream("evil", "b")
				if err := w.send(c.typ, c.m); err != nil {
					t.Fatal(err)
				}
				var f raftv1.Failure
				if err := w.receive(time.Second, failure, &f); err == nil || !strings.Contains(err.Error(), errProtocol.Error()) {
					t.Errorf("the peer is told %v", err)
				}
				if _, err := w.header(time.Second); err == nil {
					t.Error("the stream goes on")
				}
				if arrived() != 0 {
					t.Error("raft has got it")
				}
				if log := to.log.String(); !strings.Contains(log, "peer=evil") || !strings.Contains(log, "error=") {
					t.Errorf("the log says %q", log)
				}
			})
		})
	}
}

// TestSaneRequestsPass: what TestNonsenseEndsTheStream changes is in order as it is.
func TestSaneRequestsPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		to := n.open("b", func(cfg *Config) { cfg.Leader = func() string { return "evil" } })
		arrived, stop := to.serve(5)
		defer stop()
		w := n.stream("evil", "b")
		ask := func(typ frameType, m proto.Message, want frameType, answer proto.Message) {
			t.Helper()
			if err := w.send(typ, m); err != nil {
				t.Fatal(err)
			}
			if err := w.receive(time.Second, want, answer); err != nil {
				t.Errorf("request %d: %v", typ, err)
			}
		}
		ask(appendEntries, validAppend("evil"), appendEntriesAnswer, new(raftv1.AppendEntriesResponse))
		ask(vote, validVote("evil"), voteAnswer, new(raftv1.VoteResponse))
		ask(preVote, change(validVote("evil"), func(m *raftv1.VoteRequest) { m.Term = 5 + requestTermsMax }), voteAnswer, new(raftv1.VoteResponse))
		ask(timeoutNow, &raftv1.TimeoutNowRequest{NodeId: "evil"}, timeoutNowAnswer, new(raftv1.TimeoutNowResponse))
		ask(snapshotBegin, validBegin("evil"), snapshotProgress, new(raftv1.SnapshotProgress))
		if arrived() != 4 {
			t.Errorf("raft has got %d requests", arrived())
		}
	})
}

// TestOnlyTheLeaderHandsOver: any other member that says so calls an election
// whenever it likes.
func TestOnlyTheLeaderHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		var leader string
		to := n.open("b", func(cfg *Config) { cfg.Leader = func() string { return leader } })
		arrived, stop := to.serve(5)
		defer stop()
		w := n.stream("c", "b")
		for _, leader = range []string{"", "a", "b", "c"} {
			if err := w.send(timeoutNow, &raftv1.TimeoutNowRequest{NodeId: "c"}); err != nil {
				t.Fatal(err)
			}
			err := w.receive(time.Second, timeoutNowAnswer, new(raftv1.TimeoutNowResponse))
			if took := arrived() == 1; took != (leader == "c") || (err == nil) != took {
				t.Errorf("%q leads: raft has got it: %v, the peer is told %v", leader, took, err)
			}
		}
		if log := to.log.String(); !strings.Contains(log, "peer=c") || !strings.Contains(log, errNotTheLeader.Error()) {
			t.Errorf("the log says %q", log)
		}
		self := n.stream("b", "b") // how a node without a leader stands for election
		leader = ""
		if err := self.send(timeoutNow, &raftv1.TimeoutNowRequest{NodeId: "b"}); err != nil {
			t.Fatal(err)
		}
		if err := self.receive(time.Second, timeoutNowAnswer, new(raftv1.TimeoutNowResponse)); err != nil {
			t.Error(err)
		}
	})
}

// TestNewServerTakesTheTermOfTheCluster: it has none, and the cluster's may be
// any by now.
func TestNewServerTakesTheTermOfTheCluster(t *testing.T) {
	l := limits{peer: "a", checkCommand: checkPlain}
	for term, ok := range map[uint64]bool{0: false, 1: true, 1 << 61: true, numberMax: true, numberMax + 1: false} {
		if err := l.vote(&raftv1.VoteRequest{NodeId: "a", Term: term}); (err == nil) != ok {
			t.Errorf("term %d: %v", term, err)
		}
	}
}

// TestInsaneAnswersAreRefused: an answer can raise raft's term too.
func TestInsaneAnswersAreRefused(t *testing.T) {
	for name, answer := range map[string]*raftv1.VoteResponse{
		"the last term":                 {Term: math.MaxUint64},
		"a term that none comes to":     {Term: numberMax + 1},
		"a vote in another term":        {Term: 4, Granted: true},
		"a vote in a term that follows": {Term: 6, Granted: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				from := n.open("a")
				l, err := n.net.Host("evil").Listen(t.Context(), "evil:7000")
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				go func() {
					c, err := l.Accept()
					if err != nil {
						return
					}
					defer c.Close()
					w := &wire{Conn: c, timeout: time.Second}
					h, _ := w.header(0)
					_, _ = w.body(h)
					_ = w.send(voteAnswer, answer)
				}()
				resp := raft.RequestVoteResponse{Term: 1}
				err = from.RequestVote("evil", "evil", &raft.RequestVoteRequest{Term: 5}, &resp)
				if err == nil || resp.Term != 1 || resp.Granted {
					t.Errorf("got %+v, %v", resp, err)
				}
			})
		})
	}
}

// TestSnapshotUsesUpNoIndexes: it may be ahead of the log, but not by more than a
// cluster writes.
func TestSnapshotUsesUpNoIndexes(t *testing.T) {
	l := limits{peer: "a", term: 5, last: 100, checkCommand: checkPlain}
	for index, ok := range map[uint64]bool{
		9: true, 101: true, 100 + snapshotIndexesMax: true, 101 + snapshotIndexesMax: false, numberMax: false,
	} {
		begin := change(validBegin("a"), func(m *raftv1.SnapshotBegin) { m.LastIndex = index })
		if err := l.snapshot(begin); (err == nil) != ok {
			t.Errorf("index %d: %v", index, err)
		}
	}
}

// TestTermsFarApartDrawNear: an answer from far ahead is heard, as one that is as
// far ahead as may be. A member could else push two servers apart for ever.
func TestTermsFarApartDrawNear(t *testing.T) {
	for term, want := range map[uint64]uint64{
		5:                      5,
		6:                      6,
		5 + answerTermsMax:     5 + answerTermsMax,
		5 + answerTermsMax + 1: 5 + answerTermsMax,
		numberMax:              5 + answerTermsMax,
	} {
		got := term
		if err := checkAnswer(false, &got, 5); err != nil || got != want {
			t.Errorf("an answer of term %d counts as one of %d, want %d; %v", term, got, want, err)
		}
	}
	far := uint64(5 + answerTermsMax + 1)
	if err := checkAnswer(true, &far, 5); err == nil {
		t.Error("a vote from far ahead counts")
	}
}

// bytesConn is a connection that brings fixed bytes.
type bytesConn struct {
	net.Conn
	io.Reader
}

func (c bytesConn) Read(b []byte) (int, error)      { return c.Reader.Read(b) }
func (bytesConn) SetReadDeadline(t time.Time) error { return nil }

// TestClaimsTakeNoMemory: what counts is what arrives.
func TestClaimsTakeNoMemory(t *testing.T) {
	for name, c := range map[string]struct {
		header []byte
		ok     bool
	}{
		"800 MiB":                 {[]byte{0x32, 0, 0, 0, byte(appendEntries)}, false},
		"4 GiB":                   {[]byte{0xff, 0xff, 0xff, 0xff, byte(appendEntries)}, false},
		"nothing":                 {[]byte{0, 0, 0, 0, byte(appendEntries)}, false},
		"a vote of 1 MiB":         {[]byte{0, 0x10, 0, 0, byte(vote)}, false},
		"a type that is not":      {[]byte{0, 0, 0, 1, byte(frameTypes)}, false},
		"type 0":                  {[]byte{0, 0, 0, 1, 0}, false},
		"16 MiB that do not come": {[]byte{0x01, 0, 0, 1, byte(appendEntries)}, true},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		w := &wire{Conn: bytesConn{Reader: bytes.NewReader(append(c.header, "a few bytes"...))}, timeout: time.Second}
		h, err := w.header(0)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			if _, err := w.body(h); err == nil {
				t.Errorf("%s: there is a message", name)
			}
		}
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 256<<10 {
			t.Errorf("%s: took %d bytes", name, took)
		}
	}
}

// TestManyEmptyEntriesTakeNoMemory: each would cost an object.
func TestManyEmptyEntriesTakeNoMemory(t *testing.T) {
	b := bytes.Repeat([]byte{byte(entriesField)<<3 | 2, 0}, appendBytesMax/2)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := decodeAppend(b); err == nil {
		t.Error("8 million entries pass")
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 256<<10 {
		t.Errorf("took %d bytes", took)
	}
}
