//go:build !race

package raftstore_test

// defaultSchedules is how many schedules of faults a test run has time for.
const defaultSchedules = 14
