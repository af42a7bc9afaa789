package raftstore

import (
	"errors"
	"testing"
)

func TestCheckLeader(t *testing.T) {
	voters := []string{"n2", "n3"}
	for _, tc := range []struct{ name, id, want string }{
		{"a voter", "n3", "n3"},
		{"nobody", "", ""},
		{"the node itself, which takes office", "n1", ""},
		{"one that is no voter, whatever it claims", "evil", ""},
	} {
		id, err := checkLeader(tc.id, "n1", voters)
		if id != tc.want || (tc.want == "") != errors.Is(err, errNotLeader) {
			t.Errorf("%s: got %q, %v; want %q", tc.name, id, err, tc.want)
		}
	}
}
