//go:build !race

package raftstore_test

const (
	// defaultSchedules is how many schedules of faults a test run has time for.
	defaultSchedules = 14

	// testsBesides is how many tests run at once, of those that may, besides one
	// for each core: many wait for real time to pass. With more of them clusters
	// begin to elect leaders because nobody has time for their heartbeats.
	testsBesides = 1
)
