package raftstore_test

import (
	"errors"
	"testing"
	"time"
)

func TestStatus_AuthorityAndAdmission(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, ownAuthority)
	for i, n := range c.nodes {
		c.eventually("the node knows its admission", func() error {
			if n.Status().Admission == nil {
				return errors.New("there is none")
			}
			return nil
		})
		s := n.Status()
		if s.Admission.DiskID != n.Claim().Disk || len(s.Admission.Key) != 16 || s.Admission.Index == 0 {
			t.Errorf("node %d: admission %+v", i+1, s.Admission)
		}
		if a := s.Authority; a == nil || a.Rotation != "" || len(a.WaitsFor) != 0 ||
			!a.NotAfter.Equal(s.AuthorityNotAfter) || time.Until(a.NotAfter) < 9*365*24*time.Hour {
			t.Errorf("node %d: authority %+v, of its certificate until %v", i+1, a, s.AuthorityNotAfter)
		}
	}
}
