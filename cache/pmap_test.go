package cache_test

import (
	"fmt"
	"maps"
	"testing"

	"pgregory.net/rapid"

	"github.com/spire-raft/spire-raft/cache"
)

// TestMap compares the persistent map with Go's, over snapshots that must stay as
// they were, with hashes that collide in all or in some of their bits.
func TestMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type snapshot struct {
			got  cache.Map
			want map[string]int
		}
		var m cache.Map
		want := make(map[string]int)
		var snapshots []snapshot
		check := func(what string, m cache.Map, want map[string]int) {
			t.Helper()
			got := make(map[string]int)
			cache.MapEach(&m, func(k string, v *int) bool { got[k] = *v; return true })
			if !maps.Equal(got, want) || cache.MapLen(&m) != len(want) {
				t.Fatalf("%s: got %v of length %d, want %v", what, got, cache.MapLen(&m), want)
			}
		}
		own := true // until the first snapshot
		for i := range rapid.IntRange(1, 200).Draw(t, "changes") {
			n := rapid.IntRange(0, 40).Draw(t, "key")
			key := fmt.Sprint(n)
			hash := []uint64{uint64(n % 3), uint64(n), uint64(n) << 59, uint64(n) * 0x9e3779b97f4a7c15}[n%4]
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				own = false
				snapshots = append(snapshots, snapshot{m, maps.Clone(want)})
			case 1, 2, 3:
				_, there := want[key]
				if got := cache.MapDelete(&m, hash, key, own); got != there {
					t.Fatalf("delete %s: got %v, want %v", key, got, there)
				}
				delete(want, key)
			default:
				cache.MapSet(&m, hash, key, i, own)
				want[key] = i
			}
			got := cache.MapGet(&m, hash, key)
			if v, there := want[key]; there != (got != nil) || there && *got != v {
				t.Fatalf("get %s: got %v, want %d, %v", key, got, v, there)
			}
		}
		check("newest", m, want)
		for i, s := range snapshots {
			check(fmt.Sprint("snapshot ", i), s.got, s.want)
		}
	})
}
