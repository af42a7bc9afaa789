package raftnet

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	raftv1 "github.com/spire-raft/spire-raft/proto/raft/v1"
)

// installRequest is of a snapshot with so many bytes.
func installRequest(size int) *raft.InstallSnapshotRequest {
	return &raft.InstallSnapshotRequest{
		SnapshotVersion: raft.SnapshotVersionMax, Term: 5, LastLogIndex: 9, LastLogTerm: 4,
		Configuration: configuration(voter("a")), ConfigurationIndex: 3, Size: int64(size),
	}
}

func random(t *testing.T, size int) []byte {
	t.Helper()
	b := make([]byte, size)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

// files are the names in a node's directory.
func (n *node) files(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(n.dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func (n *node) wantNoFiles(t *testing.T) {
	t.Helper()
	if names := n.files(t); len(names) > 0 {
		t.Errorf("files are left: %v", names)
	}
}

// install sends a snapshot in the background.
func (n *node) install(to string, req *raft.InstallSnapshotRequest, data []byte) (resp *raft.InstallSnapshotResponse, done chan error) {
	resp, done = new(raft.InstallSnapshotResponse), make(chan error, 1)
	go func() {
		done <- n.InstallSnapshot(raft.ServerID(to), raft.ServerAddress(to), req, resp, bytes.NewReader(data))
	}()
	return resp, done
}

// TestSnapshotArrives whatever its length, and raft gets it whole.
func TestSnapshotArrives(t *testing.T) {
	for _, size := range []int{1, chunkBytes - 1, chunkBytes, chunkBytes + 1, 20*chunkBytes + 7} {
		synctest.Test(t, func(t *testing.T) {
			n := newNetwork(t)
			from, to := n.open("a"), n.open("b")
			data := random(t, size)
			resp, done := from.install("b", installRequest(size), data)
			rpc := <-to.Consumer()
			got, err := io.ReadAll(rpc.Reader)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("raft reads %d bytes of %d, %v", len(got), size, err)
			}
			want := installRequest(size)
			want.RPCHeader, want.Leader = rpcHeader("a"), []byte("a")
			if dump(rpc.Command) != dump(want) {
				t.Errorf("arrived as %s, want %s", dump(rpc.Command), dump(want))
			}
			time.Sleep(10 * time.Minute) // raft installs; the sender is told all the while
			rpc.Respond(&raft.InstallSnapshotResponse{Term: 5, Success: true}, nil)
			if err := <-done; err != nil || !resp.Success || resp.Term != 5 {
				t.Errorf("answer %+v, %v", resp, err)
			}
			synctest.Wait()
			to.wantNoFiles(t)
		})
	}
}

// counting is a reader that tells when so many bytes were read.
type counting struct {
	io.Reader
	left int
	then func()
}

func (c *counting) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	if before := c.left; before > 0 {
		if c.left -= n; c.left <= 0 {
			c.then()
		}
	}
	return n, err
}

// TestSnapshotGoesOnAfterABreak of its stream, without what has arrived being
// sent again.
func TestSnapshotGoesOnAfterABreak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		from, to := n.open("a"), n.open("b")
		arrived, stop := to.serve(5)
		defer stop()
		const size = 60*chunkBytes + 1
		data := random(t, size)
		breaks := 0
		var r io.Reader = bytes.NewReader(data)
		for _, at := range []int{10 * chunkBytes, 30 * chunkBytes, size} {
			r = &counting{r, at, func() { breaks++; n.net.Reset("a", "b") }}
		}
		resp := new(raft.InstallSnapshotResponse)
		if err := from.InstallSnapshot("b", "b", installRequest(size), resp, r); err != nil || !resp.Success {
			t.Errorf("answer %+v, %v", resp, err)
		}
		if breaks != 3 || arrived() != 1 {
			t.Errorf("%d breaks, raft got %d snapshots", breaks, arrived())
		}
	})
}

// TestSnapshotTakesTheTimeItNeeds: a link may be down for a while, and slow, as
// long as something arrives.
func TestSnapshotTakesTheTimeItNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		from, to := n.open("a"), n.open("b")
		_, stop := to.serve(5)
		defer stop()
		const size = 40 * chunkBytes
		slow := &counting{bytes.NewReader(random(t, size)), 0, nil}
		r := readerFunc(func(b []byte) (int, error) {
			time.Sleep(10 * time.Second) // for each chunk
			return slow.Read(b)
		})
		go func() {
			time.Sleep(100 * time.Second)
			n.net.Partition([]string{"b"})
			time.Sleep(20 * time.Second)
			n.net.Heal()
		}()
		begun := time.Now()
		resp := new(raft.InstallSnapshotResponse)
		if err := from.InstallSnapshot("b", "b", installRequest(size), resp, r); err != nil || !resp.Success {
			t.Errorf("after %v: answer %+v, %v", time.Since(begun), resp, err)
		}
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// TestSnapshotEndsWithoutProgress, at the sender and at the receiver.
func TestSnapshotEndsWithoutProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		from, to := n.open("a"), n.open("b")
		const size = 40 * chunkBytes
		r := &counting{bytes.NewReader(random(t, size)), 20 * chunkBytes, func() { n.net.Partition([]string{"b"}) }}
		begun := time.Now()
		err := from.InstallSnapshot("b", "b", installRequest(size), new(raft.InstallSnapshotResponse), r)
		if took := time.Since(begun); err == nil || took < stallTimeouts*defaultTimeout || took > 2*stallTimeouts*defaultTimeout {
			t.Errorf("after %v: %v", took, err)
		}
		if len(to.files(t)) != 1 {
			t.Errorf("files %v, want what has come", to.files(t))
		}
		time.Sleep(2 * keepIncoming)
		synctest.Wait()
		to.wantNoFiles(t)
	})
}

// TestSilenceWithinASnapshotBlocksNobody: a member opens a snapshot and says no
// more. Raft must go on to get requests, others' snapshots of a later term
// included, and the slot must be free after a while.
func TestSilenceWithinASnapshotBlocksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		from, to := n.open("a"), n.open("b")
		_, stop := to.serve(6)
		defer stop()
		silent := func() *wire {
			w := n.stream("evil", "b")
			if err := w.send(snapshotBegin, validBegin("evil")); err != nil {
				t.Fatal(err)
			}
			if err := w.receive(time.Second, snapshotProgress, new(raftv1.SnapshotProgress)); err != nil {
				t.Fatal(err)
			}
			return w
		}
		w := silent()
		begun := time.Now()
		if err := from.AppendEntries("b", "b", &raft.AppendEntriesRequest{Term: 6}, new(raft.AppendEntriesResponse)); err != nil {
			t.Error(err)
		}
		if err := from.RequestVote("b", "b", &raft.RequestVoteRequest{Term: 6}, new(raft.RequestVoteResponse)); err != nil {
			t.Error(err)
		}
		later := installRequest(100)
		later.Term = 6
		resp := new(raft.InstallSnapshotResponse)
		if err := from.InstallSnapshot("b", "b", later, resp, bytes.NewReader(random(t, 100))); err != nil || !resp.Success {
			t.Errorf("snapshot of a later term: %+v, %v", resp, err)
		}
		if took := time.Since(begun); took > time.Second {
			t.Errorf("it took %v", took)
		}
		if _, err := w.header(time.Second); err == nil {
			t.Error("the silent stream goes on")
		}
		w = silent()
		begun = time.Now()
		if _, err := w.header(time.Minute); err == nil || time.Since(begun) > 4*defaultTimeout {
			t.Errorf("the silent stream ended after %v: %v", time.Since(begun), err)
		}
	})
}

// TestSnapshotOfTheSameTermWaits: there is one at a time, and the second is told.
func TestSnapshotOfTheSameTermWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		n.open("b")
		first, second := n.stream("a", "b"), n.stream("c", "b")
		if err := errors.Join(first.send(snapshotBegin, validBegin("a")), first.receive(time.Second, snapshotProgress, new(raftv1.SnapshotProgress))); err != nil {
			t.Fatal(err)
		}
		err := errors.Join(second.send(snapshotBegin, validBegin("c")), second.receive(time.Second, snapshotProgress, new(raftv1.SnapshotProgress)))
		if err == nil || !strings.Contains(err.Error(), errBusy.Error()) {
			t.Errorf("the second is told %v", err)
		}
	})
}

// TestSnapshotIsRefused for what only this server knows, and leaves nothing.
func TestSnapshotIsRefused(t *testing.T) {
	const size = 3 * chunkBytes
	for name, c := range map[string]struct {
		change func(*Config)
		answer string // in the error
	}{
		"no space":         {func(c *Config) { c.Free = func() uint64 { return 2*size - 1 } }, "no space for a snapshot"},
		"another snapshot": {func(c *Config) { c.CheckSnapshot = func(io.Reader, uint64, uint64) error { return errBadCommand } }, errBadCommand.Error()},
		"no directory":     {func(c *Config) { c.Dir += "/missing" }, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				from, to := n.open("a"), n.open("b", c.change)
				arrived, stop := to.serve(5)
				defer stop()
				err := from.InstallSnapshot("b", "b", installRequest(size), new(raft.InstallSnapshotResponse), bytes.NewReader(random(t, size)))
				if err == nil || !strings.Contains(err.Error(), c.answer) || arrived() != 0 {
					t.Errorf("got %v, raft has got %d", err, arrived())
				}
			})
		})
	}
}

// TestSnapshotEndsWhereTheDiskFills while it comes in: what has come goes, and the
// log says why, once in a while. It is taken when there is space again.
func TestSnapshotEndsWhereTheDiskFills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		const size = 40 * chunkBytes
		var free atomic.Uint64
		free.Store(2 * size)
		from, to := n.open("a"), n.open("b", func(c *Config) { c.Free = free.Load })
		arrived, stop := to.serve(5)
		defer stop()
		send := func(r io.Reader) error {
			return from.InstallSnapshot("b", "b", installRequest(size), new(raft.InstallSnapshotResponse), r)
		}
		data := random(t, size)
		err := send(&counting{bytes.NewReader(data), size / 2, func() { free.Store(size + size/4) }})
		if err == nil || !strings.Contains(err.Error(), "no space for a snapshot") || arrived() != 0 {
			t.Errorf("got %v, raft has got %d", err, arrived())
		}
		synctest.Wait()
		to.wantNoFiles(t)
		if err := send(bytes.NewReader(data)); err == nil {
			t.Error("it is taken, although there is no space")
		}
		if lines := strings.Count(to.log.String(), "can't be received"); lines < 1 || lines > 2 || !strings.Contains(to.log.String(), "no space for a snapshot") {
			t.Errorf("the log has %d lines: %s", lines, to.log)
		}
		free.Store(2 * size)
		if err := send(bytes.NewReader(data)); err != nil || arrived() != 1 {
			t.Errorf("got %v, raft has got %d", err, arrived())
		}
	})
}

// TestSnapshotEndsWhereItCantBeWritten, and the sender and the log are told.
func TestSnapshotEndsWhereItCantBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		to := n.open("b")
		w := n.stream("a", "b")
		if err := errors.Join(w.send(snapshotBegin, validBegin("a")), w.receive(time.Second, snapshotProgress, new(raftv1.SnapshotProgress))); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		name := to.incoming.file.Name()
		to.incoming.file.Close()
		to.incoming.file, _ = os.Open(name) // to read only
		err := errors.Join(w.send(snapshotChunk, &raftv1.SnapshotChunk{Data: make([]byte, 10)}), w.receive(time.Second, snapshotProgress, new(raftv1.SnapshotProgress)))
		if err == nil || !strings.Contains(err.Error(), "receive snapshot") || !strings.Contains(to.log.String(), "can't be received") {
			t.Errorf("the sender is told %v, the log %q", err, to.log)
		}
		synctest.Wait()
		to.wantNoFiles(t)
	})
}

// TestSnapshotOfAnEarlierTermEnds, at its begin and in its midst, with the later
// term for the leader that has to know.
func TestSnapshotOfAnEarlierTermEnds(t *testing.T) {
	for name, after := range map[string]int{"at its begin": 2, "in its midst": 5} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				calls := 0
				from, to := n.open("a"), n.open("b", func(c *Config) {
					c.Term = func() uint64 {
						if calls++; calls > after {
							return 8
						}
						return 5
					}
				})
				if after == 2 {
					calls = 2
				}
				const size = 20 * chunkBytes
				resp := new(raft.InstallSnapshotResponse)
				err := from.InstallSnapshot("b", "b", installRequest(size), resp, bytes.NewReader(random(t, size)))
				if err != nil || resp.Success || resp.Term != 8 {
					t.Errorf("answer %+v, %v", resp, err)
				}
				synctest.Wait()
				to.wantNoFiles(t)
				if log := to.log.String(); log != "" {
					t.Errorf("the log says %s", log)
				}
			})
		})
	}
}

// TestBadChunksEndTheStream: none of them is gone on with.
func TestBadChunksEndTheStream(t *testing.T) {
	for name, c := range map[string]struct {
		size   uint64
		chunks []*raftv1.SnapshotChunk
		end    bool
	}{
		"at a wrong place": {size: 10, chunks: []*raftv1.SnapshotChunk{{Offset: 1, Data: make([]byte, 9)}}},
		"too short":        {size: 10, chunks: []*raftv1.SnapshotChunk{{Data: make([]byte, 9)}}},
		"empty":            {size: 10, chunks: []*raftv1.SnapshotChunk{{}}},
		"too long":         {size: 10, chunks: []*raftv1.SnapshotChunk{{Data: make([]byte, 11)}}},
		"behind the end":   {size: 10, chunks: []*raftv1.SnapshotChunk{{Data: make([]byte, 10)}, {Offset: 10}}},
		"an early end":     {size: 10, end: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				to := n.open("b")
				w := n.stream("evil", "b")
				begin := change(validBegin("evil"), func(m *raftv1.SnapshotBegin) { m.Size = c.size })
				if err := w.send(snapshotBegin, begin); err != nil {
					t.Fatal(err)
				}
				for _, m := range c.chunks {
					if err := w.send(snapshotChunk, m); err != nil {
						t.Fatal(err)
					}
				}
				if c.end {
					if err := w.send(snapshotEnd, &raftv1.SnapshotEnd{}); err != nil {
						t.Fatal(err)
					}
				}
				var err error
				for err == nil {
					err = w.receive(time.Second, snapshotProgress, new(raftv1.SnapshotProgress))
				}
				if !strings.Contains(err.Error(), errProtocol.Error()) {
					t.Errorf("the peer is told %v", err)
				}
				synctest.Wait()
				to.wantNoFiles(t)
			})
		})
	}
}

// TestCloseRemovesWhatHasCome of a snapshot.
func TestCloseRemovesWhatHasCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		from, to := n.open("a"), n.open("b")
		const size = 20 * chunkBytes
		pr, pw := io.Pipe()
		done := make(chan error, 1)
		go func() {
			done <- from.InstallSnapshot("b", "b", installRequest(size), new(raft.InstallSnapshotResponse), pr)
		}()
		if _, err := pw.Write(make([]byte, 5*chunkBytes)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(to.files(t)) != 1 {
			t.Errorf("files %v, want one", to.files(t))
		}
		to.close()
		to.wantNoFiles(t)
		from.close()
		pw.CloseWithError(io.ErrUnexpectedEOF)
		if err := <-done; err == nil {
			t.Error("it is sent")
		}
	})
}
