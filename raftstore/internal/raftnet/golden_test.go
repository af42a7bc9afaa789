package raftnet

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	raftv1 "github.com/spire-raft/spire-raft/proto/raft/v1"
)

var update = flag.Bool("update", false, "write the golden file of a version that has none yet; existing ones are never written over")

// goldenVersions are the versions of the stream. A change that others can't
// read adds one here, and its file by -update.
var goldenVersions = []int{1}

// goldenFrames is a frame of each type, with every field set.
func goldenFrames() []struct {
	typ frameType
	m   proto.Message
} {
	return []struct {
		typ frameType
		m   proto.Message
	}{
		{appendEntries, validAppend("a")},
		{appendEntriesAnswer, &raftv1.AppendEntriesResponse{Term: 5, LastIndex: 10, Success: true, NoRetryBackoff: true}},
		{vote, change(validVote("a"), func(m *raftv1.VoteRequest) { m.LeadershipTransfer = true })},
		{preVote, validVote("a")},
		{voteAnswer, &raftv1.VoteResponse{Term: 5, Granted: true}},
		{timeoutNow, &raftv1.TimeoutNowRequest{NodeId: "a"}},
		{timeoutNowAnswer, &raftv1.TimeoutNowResponse{}},
		{snapshotBegin, validBegin("a")},
		{snapshotChunk, &raftv1.SnapshotChunk{Offset: 256, Data: []byte("data")}},
		{snapshotEnd, &raftv1.SnapshotEnd{}},
		{snapshotProgress, &raftv1.SnapshotProgress{Term: 5, Offset: 260}},
		{snapshotInstalled, &raftv1.SnapshotInstalled{Term: 5, Success: true}},
		{failure, &raftv1.Failure{Message: "why"}},
	}
}

func frameOf(tb testing.TB, typ frameType, m proto.Message) []byte {
	tb.Helper()
	b, err := appendFrame(nil, typ, m)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// TestGolden: frames are written as they were, and those of every version are
// read.
func TestGolden(t *testing.T) {
	frames := goldenFrames()
	if len(frames) != int(frameTypes)-1 {
		t.Fatalf("%d frames, there are %d types", len(frames), frameTypes-1)
	}
	var now strings.Builder
	for _, f := range frames {
		fmt.Fprintf(&now, "%d %x\n", f.typ, frameOf(t, f.typ, f.m))
	}
	for i, version := range goldenVersions {
		name := filepath.Join("testdata", fmt.Sprintf("frames-v%d.txt", version))
		if _, err := os.Stat(name); *update && err != nil {
			if err := os.WriteFile(name, []byte(now.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if i == len(goldenVersions)-1 && now.String() != string(want) {
			t.Errorf("frames are\n%s\nwere\n%s", now.String(), want)
		}
		for j, line := range strings.Split(strings.TrimSpace(string(want)), "\n") {
			_, digits, _ := strings.Cut(line, " ")
			b, err := hex.DecodeString(digits)
			if err != nil {
				t.Fatal(err)
			}
			w := &wire{Conn: bytesConn{Reader: bytes.NewReader(b)}, timeout: time.Second}
			h, err := w.header(0)
			if err != nil || h.typ != frames[j].typ {
				t.Fatalf("version %d, frame %d: type %d, %v", version, j, h.typ, err)
			}
			body, err := w.body(h)
			if err != nil {
				t.Fatal(err)
			}
			got := frames[j].m.ProtoReflect().New().Interface()
			if err := proto.Unmarshal(body, got); err != nil || !proto.Equal(got, frames[j].m) {
				t.Errorf("version %d, frame %d: %v, %v", version, j, got, err)
			}
		}
	}
}
