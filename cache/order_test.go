package cache_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/spire-raft/spire-raft/cache"
)

// TestOrder compares the trie of entries by number with a map, over snapshots
// that must stay as they were. A number may be used twice, as in a damaged store.
func TestOrder(t *testing.T) {
	numbers := []uint64{1, 2, 3, 31, 32, 33, 63, 64, 1023, 1024, 1025, 32768, 1 << 40, 1<<63 - 1, 1 << 63, 1<<64 - 2, 1<<64 - 1, 0}
	rapid.Check(t, func(t *rapid.T) {
		type entries map[string]uint64 // numbers by id
		type snapshot struct {
			got  cache.Order
			want entries
		}
		var o cache.Order
		want, objects := make(entries), make(map[string]any)
		snapshots := []snapshot{}
		own := true // until the first snapshot
		for i := range rapid.IntRange(1, 100).Draw(t, "changes") {
			switch what := rapid.IntRange(0, 9).Draw(t, "what"); {
			case what == 0:
				own = false
				snapshots = append(snapshots, snapshot{o, maps.Clone(want)})
			case what < 4 && len(want) > 0:
				id := rapid.SampledFrom(slices.Sorted(maps.Keys(want))).Draw(t, "id")
				cache.OrderRemove(&o, objects[id], own)
				if cache.OrderContains(&o, objects[id]) {
					t.Fatalf("%s is still there", id)
				}
				delete(want, id)
			default:
				id := fmt.Sprint(i)
				number := rapid.OneOf(rapid.SampledFrom(numbers), rapid.Uint64Range(1, 100)).Draw(t, "number")
				objects[id] = cache.OrderAdd(&o, number, id, own)
				want[id] = number
			}
		}
		for i, s := range append(snapshots, snapshot{o, want}) {
			var all []string
			cache.OrderEach(&s.got, func(id string) { all = append(all, id) })
			slices.Sort(all)
			if !slices.Equal(all, slices.Sorted(maps.Keys(s.want))) {
				t.Fatalf("state %d: has %q, want %v", i, all, s.want)
			}
			for id := range s.want {
				if !cache.OrderContains(&s.got, objects[id]) {
					t.Fatalf("state %d: %s is missing", i, id)
				}
			}
			sorted := slices.Sorted(maps.Values(s.want))
			distinct := slices.Compact(slices.Clone(sorted))
			total := len(distinct) == len(sorted) && !slices.Contains(sorted, 0)
			if got := cache.OrderTotal(&s.got); got != total {
				t.Fatalf("state %d: total is %v, want %v", i, got, total)
			}
			after := rapid.SampledFrom(append([]uint64{50}, numbers...)).Draw(t, "after")
			distinct = slices.DeleteFunc(distinct, func(n uint64) bool { return n <= after })
			limit := rapid.IntRange(1, 50).Draw(t, "limit")
			var got []uint64
			cache.OrderVisit(&s.got, after, func(n uint64) bool { got = append(got, n); return len(got) < limit })
			if wanted := distinct[:min(limit, len(distinct))]; !slices.Equal(got, wanted) {
				t.Fatalf("state %d: %d after %d are %v, want %v", i, limit, after, got, wanted)
			}
		}
	})
}
