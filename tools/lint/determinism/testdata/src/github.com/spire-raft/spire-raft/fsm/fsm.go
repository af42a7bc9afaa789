// Package fsm stands for the replicated machine.
package fsm

import (
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"time"
)

func order(m map[string]int) {
	for range m { // want "the order of a map"
	}
	for range maps.Keys(m) { // want "maps.Keys differs"
	}
	for range slices.Sorted(maps.Keys(m)) {
	}
	for range slices.SortedFunc(maps.Keys(m), func(a, b string) int { return len(a) - len(b) }) {
	}
	for range []int{1} {
	}
}

func world(t time.Time) {
	_ = time.Now()       // want "time.Now differs"
	_ = time.Since(t)    // want "time.Since differs"
	_ = os.Getenv("A")   // want "os.Getenv differs"
	_ = rand.IntN(3)     // want "random numbers differ"
	_ = rand.N[int64](3) // want "random numbers differ"
	_ = t.Unix()
	_ = time.Unix(1, 0)
}
