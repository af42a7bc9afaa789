package fsm_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spire-raft/spire-raft/fsm"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/txn"
)

// original is a database file and what it holds: the newest state, and the one
// before, to which a damaged meta page leads back.
type original struct {
	file   []byte
	states [2]originalState
}

type originalState struct {
	position fsm.Position
	pairs    []store.KeyValue
}

// newOriginal makes a file with inner pages, large values and free pages.
func newOriginal(t *testing.T) *original {
	t.Helper()
	dir := t.TempDir()
	m := openWith(t, written(dir))
	populate(t, m)
	for i := range 40 {
		var cmds [][]byte
		for j := range 25 {
			cmds = append(cmds, writes(t, put(fmt.Sprintf("key/%04d", (i*25+j)*7919%1000), strings.Repeat("v", 40+i*j%200))))
		}
		apply(t, m, cmds...)
	}
	apply(t, m, fsm.EncodeSetHistoryBudget(50_000), writes(t, put("large", strings.Repeat("L", 20_000))))
	o := &original{}
	for i := range o.states {
		o.states[i] = originalState{m.Position(), contents(t, m)}
		if i == 0 {
			apply(t, m, writes(t, del("key/0007"), put("last", "1")))
		}
	}
	closeMachine(t, m)

	path := filepath.Join(dir, "state.db")
	used, err := fsm.UsedBytes(path)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	o.file = data[:used]
	return o
}

// try opens a damaged file in dir. It reports whether the damage was found; if
// not, all that can be read must be right, and the machine must go on.
func (o *original) try(t *testing.T, dir string, file []byte, what string) (found bool) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "state.db"), file, 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := fsm.Open(written(dir))
	if err != nil {
		if !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%s: Open returned %v", what, err)
		}
		return true
	}
	defer closeMachine(t, m)
	state := o.states[1]
	if m.Position() == o.states[0].position {
		state = o.states[0]
	}
	if m.Position() != state.position {
		t.Errorf("%s: position %+v, want %+v", what, m.Position(), state.position)
	}
	if got := contents(t, m); !equalPairs(got, state.pairs) {
		t.Errorf("%s: wrong data, and no error", what)
	}
	for i := 0; i < len(state.pairs); i += 7 {
		o.get(t, m, state.pairs[i], what)
	}
	scrub(t, m)
	apply(t, m, writes(t, put("key/0500", "after"), put("large", "small")))
	scrub(t, m)
	return false
}

func (o *original) get(t *testing.T, m *fsm.Machine, want store.KeyValue, what string) {
	t.Helper()
	v, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	kv, found, err := v.Get(want.Key)
	if err != nil || !found || !bytes.Equal(kv.Value, want.Value) {
		t.Errorf("%s: Get(%q) = %q, %v, %v", what, want.Key, kv.Value, found, err)
	}
}

func TestDamage_FlippedBits(t *testing.T) {
	o := newOriginal(t)
	if o.try(t, t.TempDir(), o.file, "no damage") {
		t.Fatal("the original can't be opened")
	}
	flips, found := 400, 0
	if testing.Short() {
		flips = 50
	}
	seed := rand.Uint64()
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	for range flips {
		at, bit := random.IntN(len(o.file)), random.IntN(8)
		file := bytes.Clone(o.file)
		file[at] ^= 1 << bit
		if o.try(t, dir, file, fmt.Sprintf("bit %d of byte %d (page %d, offset %d)", bit, at, at/4096, at%4096)) {
			found++
		}
	}
	t.Logf("%d of %d flips were found, the others changed nothing", found, flips)
	if found < flips/10 {
		t.Errorf("only %d of %d flips were found", found, flips)
	}
}

// The heads of pages are few of all bytes, and the ones that lead astray.
func TestDamage_FlippedBitsInPageHeads(t *testing.T) {
	o := newOriginal(t)
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	pages := len(o.file) / 4096
	for range 300 {
		page, offset := random.IntN(pages), random.IntN(16+3*16)
		file := bytes.Clone(o.file)
		file[page*4096+offset] ^= 1 << random.IntN(8)
		o.try(t, dir, file, fmt.Sprintf("page %d, offset %d", page, offset))
	}
}

func TestDamage_Truncated(t *testing.T) {
	o := newOriginal(t)
	dir := t.TempDir()
	try := func(size int) {
		t.Helper()
		if !o.try(t, dir, o.file[:size], fmt.Sprintf("cut to %d bytes", size)) {
			t.Errorf("a file of %d bytes, cut to %d, was opened", len(o.file), size)
		}
	}
	for size := 0; size < len(o.file); size += 4096 {
		try(size)
		try(size + 1)
		try(size + 4095)
	}
}

func TestDamage_OverwrittenPages(t *testing.T) {
	o := newOriginal(t)
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(3, 4))
	pages := len(o.file) / 4096
	for range 100 {
		// A write that went to the wrong place, or not at all.
		from, to := random.IntN(pages), random.IntN(pages)
		file := bytes.Clone(o.file)
		copy(file[to*4096:(to+1)*4096], o.file[from*4096:])
		o.try(t, dir, file, fmt.Sprintf("page %d over page %d", from, to))
		clear(file[to*4096 : (to+1)*4096])
		o.try(t, dir, file, fmt.Sprintf("page %d zeroed", to))
	}
}

// Damage while the file is open: what Open has verified is not what is read.
func TestDamage_WhileOpen(t *testing.T) {
	for _, c := range []struct {
		name    string
		target  string // in the file
		replace string
		read    func(m *fsm.Machine) error
	}{
		{"a value that is read", "the-value", "The-value", get("key/b")},
		{"a key that is sought", "key/b", "key/r", get("key/b")},
		{"a key before the one sought", "key/b", "key/d", get("key/bb")},
		{"a key behind the one sought", "key/c", "key/a", get("key/bb")},
		{"a key in a scan", "key/b", "key/~", func(m *fsm.Machine) error { _, err := scan(m, store.Range{}); return err }},
		{"a key at the edge of a scan", "key/b", "key/a", func(m *fsm.Machine) error {
			_, err := scan(m, store.Range{Start: []byte("key/aa"), End: []byte("key/bb")})
			return err
		}},
		{"a value in a scrub", "the-value", "thE-value", func(m *fsm.Machine) error { _, err := m.Scrub(t.Context()); return err }},
		{"an event", "an-event", "An-event", func(m *fsm.Machine) error {
			_, err := m.History(store.Cursor{Revision: m.Position().Compact}, 1<<20)
			return err
		}},
		{"a value that is overwritten", "the-value", "tHe-value", func(m *fsm.Machine) error {
			_, err := m.Apply([]fsm.Entry{entry(9, writes(t, put("key/b", "2")))})
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			m := openWith(t, written(dir))
			// The events are gone from the history, but for the last.
			apply(t, m, writes(t, put("key/a", "1"), put("key/b", "the-value"), put("key/c", "3")), fsm.EncodeSetHistoryBudget(0))
			apply(t, m, writes(t, put("e", "an-event")))
			apply(t, m, fsm.EncodeSetHistoryBudget(1<<20))
			for i := range 2 { // over both versions of the page
				apply(t, m, writes(t, put("e", "an-event"), put(fmt.Sprint("filler/", i), strings.Repeat("f", 3000))))
			}
			if err := c.read(open(t)); errors.Is(err, store.ErrCorrupt) {
				t.Fatalf("without damage: %v", err)
			}
			damage(t, filepath.Join(dir, "state.db"), c.target, c.replace)
			err := c.read(m)
			if !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), "bucket ") {
				t.Fatalf("it was read with %v", err)
			}
		})
	}
}

func get(key string) func(*fsm.Machine) error {
	return func(m *fsm.Machine) error {
		v, err := m.View()
		if err != nil {
			return err
		}
		defer v.Close()
		_, _, err = v.Get([]byte(key))
		return err
	}
}

// damage replaces target by as many bytes, wherever it is in the file.
func damage(t *testing.T, path, target, replace string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for at := 0; ; n++ {
		i := bytes.Index(data[at:], []byte(target))
		if i < 0 {
			break
		}
		if _, err := f.WriteAt([]byte(replace), int64(at+i)); err != nil {
			t.Fatal(err)
		}
		at += i + 1
	}
	if n == 0 {
		t.Fatalf("%q is not in the file", target)
	}
}

// Damage that is too rare to be met by chance, and that bbolt would follow into
// an endless loop or overwrite what is in use.
func TestDamage_PageReferences(t *testing.T) {
	o := newOriginal(t)
	dir := t.TempDir()
	order := binary.NativeEndian
	var branches, freelists int
	for at := 2 * 4096; at < len(o.file); at += 4096 {
		id, flags, count := order.Uint64(o.file[at:]), order.Uint16(o.file[at+8:]), int(order.Uint16(o.file[at+10:]))
		if id != uint64(at/4096) {
			continue // what a page before overflows into
		}
		edit := func(what string, change func(page []byte)) {
			t.Helper()
			file := bytes.Clone(o.file)
			change(file[at : at+4096])
			found := o.try(t, dir, file, what)
			// Pages that are not in use may say what they like.
			if what == "the free list has a page in use" && !found {
				t.Errorf("%s (page %d), and that was not found", what, id)
			}
		}
		switch {
		case flags == 0x01 && count > 1:
			branches++
			edit("a branch leads to itself", func(p []byte) { order.PutUint64(p[16+8:], id) })
			edit("a branch leads to one page twice", func(p []byte) { copy(p[16+8:16+16], p[32+8:32+16]) })
			edit("a branch leads behind the end", func(p []byte) { order.PutUint64(p[16+8:], 1<<40) })
			edit("a branch has lost a child", func(p []byte) { order.PutUint16(p[10:], uint16(count-1)) })
		case flags == 0x10 && count < 400 && bytes.Equal(o.file[at:at+8], newestFreelist(o.file)):
			freelists++
			edit("the free list has a page in use", func(p []byte) {
				order.PutUint16(p[10:], uint16(count+1))
				order.PutUint64(p[16+8*count:], id)
			})
		}
	}
	if branches == 0 || freelists != 1 {
		t.Fatalf("%d branches and %d free lists", branches, freelists)
	}
}

// newestFreelist returns the id of the page with the free list, as bytes.
func newestFreelist(file []byte) []byte {
	const txid, freelist = 16 + 48, 16 + 32
	newest := file[:4096]
	if binary.NativeEndian.Uint64(file[4096+txid:]) > binary.NativeEndian.Uint64(file[txid:]) {
		newest = file[4096:]
	}
	return newest[freelist : freelist+8]
}

// A write that the disk has lost leaves a page as it was, which is a good page
// of another time. Open finds it where records came or went, the scrubber where
// they only changed.
func TestDamage_LostWrites(t *testing.T) {
	for _, c := range []struct {
		name  string
		write func(i int) txn.Write
		found func(m *fsm.Machine, openErr error) error
	}{
		{"of a new key", func(i int) txn.Write { return put(fmt.Sprintf("key/%02d", i), "value") },
			func(_ *fsm.Machine, openErr error) error { return openErr }},
		{"of a new value", func(i int) txn.Write { return put("key", fmt.Sprintf("value %02d", i)) },
			func(m *fsm.Machine, openErr error) error {
				if openErr != nil {
					return openErr
				}
				_, err := m.Scrub(t.Context())
				return err
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			m := openWith(t, written(dir))
			apply(t, m, fsm.EncodeSetHistoryBudget(0), writes(t, put("filler", strings.Repeat("f", 2000))))
			path := filepath.Join(dir, "state.db")
			var files [2][]byte
			for i := range files {
				apply(t, m, writes(t, c.write(i)))
				var err error
				if files[i], err = os.ReadFile(path); err != nil {
					t.Fatal(err)
				}
			}
			closeMachine(t, m)
			used, err := fsm.UsedBytes(path)
			if err != nil {
				t.Fatal(err)
			}
			newest, lost := files[1][:used], 0
			for at := 2 * 4096; at < int(used); at += 4096 {
				for _, page := range earlier(files[0], newest[at:at+4096]) {
					writeState(t, dir, slices.Concat(newest[:at], page, newest[at+4096:]))
					m, openErr := fsm.Open(written(dir))
					err := c.found(m, openErr)
					if m != nil {
						if err == nil && !unused(t, m, c.write(1)) {
							t.Errorf("page %d as it was before: no error, and old data", at/4096)
						}
						closeMachine(t, m)
					}
					if err != nil {
						lost++
					}
				}
			}
			if lost == 0 {
				t.Error("no write was lost in a page that is in use")
			}
		})
	}
}

// earlier returns what the disk could hold in place of page if it lost the last
// write to it: the pages of an older file with the same records, as if they had
// been in that place. Which page the database takes for a write is chance, so
// they need not have been.
func earlier(older, page []byte) (pages [][]byte) {
	if !bytes.Contains(page, []byte("filler")) {
		return nil
	}
	for at := 2 * 4096; at+4096 <= len(older); at += 4096 {
		was := slices.Concat(page[:8], older[at+8:at+4096]) // a page begins with its number
		if bytes.Contains(was, []byte("filler")) && !bytes.Equal(was, page) {
			pages = append(pages, was)
		}
	}
	return pages
}

// unused tells that the newest write is there, so the damaged page is not in
// use.
func unused(t *testing.T, m *fsm.Machine, w txn.Write) bool {
	t.Helper()
	v, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	kv, found, err := v.Get(w.Key)
	return err == nil && found && bytes.Equal(kv.Value, w.Value)
}
