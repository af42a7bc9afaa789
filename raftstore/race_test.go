//go:build race

package raftstore_test

// Under the race detector each test takes several times as long.
const (
	defaultSchedules = 4
	testsBesides     = 0
)
