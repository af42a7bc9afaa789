package fsm_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/spire-raft/spire-raft/fsm"
	"github.com/spire-raft/spire-raft/store"
	"github.com/spire-raft/spire-raft/store/txn"
)

// Whatever lies in the two layers and in the file, reads see what a map would
// have.
func TestView_MergesLayersAndFile(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for round := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, round))
		keys := 1 + rnd.IntN(40)
		if round%10 == 0 {
			keys = 1500 // more than a page and a node hold
		}
		d := &merged{tb: t, rnd: rnd, keys: keys, want: map[string]string{}}
		d.m = openWith(t, held(t.TempDir()))
		for range 4 {
			d.change()
			d.check("over one layer")
			finish := fsm.Freeze(d.m)
			d.check("over a frozen layer")
			d.change()
			d.check("over two layers")
			if err := finish(); err != nil {
				t.Fatal(err)
			}
			d.check("over a layer that took changes meanwhile")
		}
	}
}

// merged is a machine, and a map that goes through the same changes.
type merged struct {
	tb   testing.TB
	rnd  *rand.Rand
	m    *fsm.Machine
	keys int
	want map[string]string
}

func (d *merged) key() string { return fmt.Sprintf("%04d", d.rnd.IntN(d.keys)) }

// change puts and deletes, in a proportion that it draws.
func (d *merged) change() {
	deletions := d.rnd.IntN(11)
	for range 1 + d.rnd.IntN(10) {
		drawn := map[string]txn.Write{}
		for range 1 + d.rnd.IntN(1+d.keys/4) {
			key := d.key()
			if d.rnd.IntN(10) < deletions {
				drawn[key] = del(key)
				delete(d.want, key)
				continue
			}
			value := fmt.Sprint(d.rnd.IntN(1000))
			drawn[key] = put(key, value)
			d.want[key] = value
		}
		inOrder := slices.SortedFunc(maps.Values(drawn), func(a, b txn.Write) int { return bytes.Compare(a.Key, b.Key) })
		apply(d.tb, d.m, writes(d.tb, inOrder...))
	}
}

// check reads keys and ranges, some of which begin or end between keys.
func (d *merged) check(when string) {
	d.tb.Helper()
	v, err := d.m.View()
	if err != nil {
		d.tb.Fatal(err)
	}
	defer v.Close()
	for range 20 {
		key := d.key()
		kv, found, err := v.Get([]byte(key))
		if want, there := d.want[key]; err != nil || found != there || string(kv.Value) != want {
			d.tb.Fatalf("%s: Get(%s) = %q %v %v, want %q %v", when, key, kv.Value, found, err, want, there)
		}
		r := store.Range{Start: []byte(d.key() + []string{"", "+"}[d.rnd.IntN(2)])}
		if d.rnd.IntN(3) == 0 {
			r.Start = nil
		}
		if d.rnd.IntN(3) > 0 {
			r.End = []byte(d.key() + "+")
		}
		var got, want []string
		if err := v.Scan(r, func(kv store.KeyValue) bool { got = append(got, fmt.Sprintf("%s=%s", kv.Key, kv.Value)); return true }); err != nil {
			d.tb.Fatal(err)
		}
		for key, value := range d.want {
			if r.Contains([]byte(key)) {
				want = append(want, key+"="+value)
			}
		}
		if slices.Sort(want); !slices.Equal(got, want) {
			d.tb.Fatalf("%s: from %q to %q it has %v, want %v", when, r.Start, r.End, got, want)
		}
	}
	scrub(d.tb, d.m)
}
