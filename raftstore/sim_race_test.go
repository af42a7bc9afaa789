//go:build race

package raftstore_test

// defaultSchedules is less than without the race detector, under which each
// takes several times as long.
const defaultSchedules = 4
