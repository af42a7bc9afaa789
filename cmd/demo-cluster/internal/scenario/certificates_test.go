package scenario

import (
	"strings"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
)

func TestCertificates_CountsRenewalsAndFindsThoseThatFail(t *testing.T) {
	begun := time.Now()
	at := func(seconds int) time.Time { return begun.Add(time.Duration(seconds) * time.Second) }
	type look struct{ at, notAfter int } // notAfter 0: the server doesn't answer
	for _, test := range []struct {
		name     string
		looks    []look
		renewals int
		problem  string
	}{
		{"renewed in time", []look{{0, 10}, {5, 10}, {7, 17}, {14, 24}}, 2, ""},
		{"a server that is not there yet", []look{{0, 0}, {1, 10}, {2, 10}}, 0, ""},
		{"renewed while it was away", []look{{0, 10}, {6, 0}, {20, 30}}, 1, ""},
		{"away while it expired, then renewed", []look{{0, 10}, {6, 0}, {20, 10}, {24, 10}, {25, 35}}, 1, ""},
		{"away again and again", []look{{0, 10}, {11, 10}, {14, 0}, {18, 10}, {21, 10}, {22, 32}}, 1, ""},
		{"never renewed", []look{{0, 10}, {11, 10}, {14, 10}, {17, 10}}, 0, "n1 has had an expired certificate for 5s"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var c certificates
			for _, l := range test.looks {
				var status *api.Status
				if l.notAfter != 0 {
					status = &api.Status{Node: "n1", CertificateNotAfter: at(l.notAfter)}
				}
				c.look("n1", status, at(l.at))
			}
			if c.count() != test.renewals {
				t.Errorf("%d renewals, want %d", c.count(), test.renewals)
			}
			if got := strings.Join(c.problems(), "; "); !strings.Contains(got, test.problem) || (got == "") != (test.problem == "") {
				t.Errorf("problems %q, want %q", got, test.problem)
			}
		})
	}
}

func TestCertificates_AnotherServerInTheSamePlaceIsNoRenewal(t *testing.T) {
	var c certificates
	now := time.Now()
	c.look("n1", &api.Status{Node: "n1", CertificateNotAfter: now.Add(time.Minute)}, now)
	c.look("n1", &api.Status{Node: "n4", CertificateNotAfter: now.Add(time.Hour)}, now) // the name was looked up before
	c.look("n4", &api.Status{Node: "n4", CertificateNotAfter: now.Add(time.Hour)}, now)
	if c.count() != 0 {
		t.Errorf("%d renewals", c.count())
	}
}
