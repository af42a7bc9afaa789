//go:build !race

package raftstore_test

import "runtime"

// defaultSchedules is how many schedules of faults a test run has time for.
const defaultSchedules = 14

// testsAtOnce is how many tests run at once, of those that may: one for each core
// and one more, since many wait for real time to pass. With more of them clusters
// begin to elect leaders because nobody has time for their heartbeats.
func testsAtOnce() int { return 1 + runtime.GOMAXPROCS(0) }
