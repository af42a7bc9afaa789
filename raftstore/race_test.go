//go:build race

package raftstore_test

// defaultSchedules: under the race detector each test takes several times as long.
const defaultSchedules = 4

// testsAtOnce: three nodes under the race detector keep two cores busy.
func testsAtOnce() int { return 1 }
