package fsm_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/spire-raft/spire-raft/fsm"
	"github.com/spire-raft/spire-raft/store/txn"
)

const spaceValue = 50_000

// fileBytes is how much of the database's file was ever in use.
func fileBytes(t *testing.T, m *fsm.Machine) int64 {
	t.Helper()
	s, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	return s.Size()
}

func reusable(t *testing.T, m *fsm.Machine) int64 {
	t.Helper()
	n, err := m.Reusable()
	if err != nil {
		t.Fatal(err)
	}
	return int64(n)
}

// putMany applies so many values, and writes them.
func putMany(t *testing.T, m *fsm.Machine, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		apply(t, m, writes(t, put(fmt.Sprintf("k%05d", i), strings.Repeat("v", spaceValue))))
	}
	flush(t, m)
}

// deleteMany deletes as many in one transaction.
func deleteMany(t *testing.T, m *fsm.Machine, from, to int) {
	t.Helper()
	var w []txn.Write
	for i := from; i < to; i++ {
		w = append(w, del(fmt.Sprintf("k%05d", i)))
	}
	apply(t, m, writes(t, w...))
	flush(t, m)
}

func flush(t *testing.T, m *fsm.Machine) {
	t.Helper()
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
}

// TestReusable_IsWrittenTo fills a file, deletes all, and writes again what is
// said to have room: the file must not grow.
func TestReusable_IsWrittenTo(t *testing.T) {
	m := openWith(t, written(t.TempDir()))
	apply(t, m, fsm.EncodeSetHistoryBudget(1))
	const objects = 200
	putMany(t, m, 0, objects)
	if got := reusable(t, m); got > 2<<20 {
		t.Errorf("%d bytes are reusable in a file that only grew", got)
	}
	deleteMany(t, m, 0, objects)
	room, before := reusable(t, m), fileBytes(t, m)
	if room < objects*spaceValue/2 {
		t.Fatalf("%d bytes are reusable where %d were deleted", room, objects*spaceValue)
	}
	// Each object is in the history, too, and those beside it are written again.
	putMany(t, m, 0, int(room)/spaceValue/8)
	if now := fileBytes(t, m); now > before {
		t.Errorf("the file has grown from %d to %d bytes, although %d were reusable", before, now, room)
	}
	if got := reusable(t, m); got >= room {
		t.Errorf("%d bytes are reusable, as many as before", got)
	}
}

// TestReusable_NotWhatViewsNeed holds views open while what they see is deleted.
func TestReusable_NotWhatViewsNeed(t *testing.T) {
	m := openWith(t, written(t.TempDir()))
	apply(t, m, fsm.EncodeSetHistoryBudget(1))
	putMany(t, m, 0, 100)
	early := reusable(t, m)
	v, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	deleteMany(t, m, 0, 100)
	if got := reusable(t, m); got > early {
		t.Errorf("%d bytes are reusable, %d before the delete, while a view needs them", got, early)
	}
	before := fileBytes(t, m)
	putMany(t, m, 0, 20) // what the view sees stays
	if now := fileBytes(t, m); now == before {
		t.Error("what a view needs was written to")
	}
	if got := reusable(t, m); got > early {
		t.Errorf("%d bytes are reusable, while a view needs them", got)
	}
	v.Close()
	if got := reusable(t, m); got < 2<<20 {
		t.Errorf("%d bytes are reusable when the view is closed", got)
	}
}

// TestReusable_LargerRecords counts on no place for records that are larger than
// those that the places were found for.
func TestReusable_LargerRecords(t *testing.T) {
	opts := options(t.TempDir())
	opts.FlushBytes = 64 << 20
	m := openWith(t, opts)
	apply(t, m, fsm.EncodeSetHistoryBudget(1))
	putMany(t, m, 0, 100)
	deleteMany(t, m, 0, 100)
	small := reusable(t, m)
	apply(t, m, writes(t, put("large", strings.Repeat("v", 1<<20)))) // in memory so far
	if got := reusable(t, m); got > small-(3<<20) {
		t.Errorf("%d bytes are reusable for records of 1 MiB, and %d for smaller ones", got, small)
	}
}

// TestFlush_DeletesBetweenLargeRecordsTakeLittleSpace deletes every other record.
// Those that stay are written to other places, since they share pages with those
// that go, but not all at once: what is free by then takes the next ones.
func TestFlush_DeletesBetweenLargeRecordsTakeLittleSpace(t *testing.T) {
	opts := options(t.TempDir())
	opts.FlushBytes = 512 << 10
	m := openWith(t, opts)
	apply(t, m, fsm.EncodeSetHistoryBudget(1))
	const objects = 200
	putMany(t, m, 0, objects)
	before := fileBytes(t, m)
	for i := 0; i < objects; i += 2 {
		apply(t, m, writes(t, del(fmt.Sprintf("k%05d", i))))
	}
	flush(t, m)
	if grown := fileBytes(t, m) - before; grown > objects*spaceValue/4 {
		t.Errorf("the file has grown by %d bytes", grown)
	}
}
