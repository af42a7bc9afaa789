//go:build !race

package raftstore_test

const (
	// defaultSchedules is how many schedules of faults a test run has time for.
	defaultSchedules = 14

	// testsPerCore is how many tests run at once, where they may: most wait for
	// real time to pass, or for one goroutine.
	testsPerCore = 2
)
