package report_test

import (
	"strings"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/report"
)

func TestWriteJSON_HasTheDocumentedShape(t *testing.T) {
	for _, test := range []struct {
		name string
		r    report.Result
		want string
	}{
		{"a good run", report.Result{
			OK: true, Scenario: "story", Nodes: 3, Acked: 10, Ambiguous: 1, HashEqual: true,
			Failovers: []report.Failover{{RecoveryMS: 512.25, Cause: "kill -9"}},
			Watch:     report.Watch{Events: 30, P50MS: 1.5, P99MS: 20},

			Propagation: report.Percentiles{P50MS: 2.5, P99MS: 30}, AuthorizedPerSecond: 400.5, DataStoreOps: 12,
			DisksReplaced: 2, CertificateRenewals: 17, AuthorityRotations: 3,
		}, `{"ok":true,"scenario":"story","nodes":3,"acked":10,"lost":0,"ambiguous":1,"duplicated":0,` +
			`"failovers":[{"recovery_ms":512.25}],` +
			`"watch":{"events":30,"gaps":0,"duplicates":0,"out_of_order":0,"p50_ms":1.5,"p99_ms":20},"hash_equal":true,` +
			`"propagation":{"p50_ms":2.5,"p99_ms":30},"authorized_per_s":400.5,"datastore_ops":12,"disks_replaced":2,"certificate_renewals":17,"authority_rotations":3}` + "\n"},
		{"a run that did not begin", report.Result{Scenario: "chaos", Nodes: 3, Error: "bad \"file\"\nline 2"},
			`{"ok":false,"scenario":"chaos","nodes":3,"acked":0,"lost":0,"ambiguous":0,"duplicated":0,` +
				`"failovers":[],` +
				`"watch":{"events":0,"gaps":0,"duplicates":0,"out_of_order":0,"p50_ms":0,"p99_ms":0},"hash_equal":false,` +
				`"propagation":{"p50_ms":0,"p99_ms":0},"authorized_per_s":0,"datastore_ops":0,"disks_replaced":0,"certificate_renewals":0,"authority_rotations":0,` +
				`"error":"bad \"file\"\nline 2"}` + "\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var b strings.Builder
			if err := test.r.WriteJSON(&b); err != nil {
				t.Fatal(err)
			}
			if b.String() != test.want {
				t.Errorf("got  %swant %s", b.String(), test.want)
			}
		})
	}
}

func TestWriteText_SaysWhetherItWentWell(t *testing.T) {
	good := report.Report{Result: report.Result{OK: true, Scenario: "story", Nodes: 3, Acked: 10, HashEqual: true}, Keys: 7, Revision: 9, Hash: "abc"}
	good.Propagation, good.AuthorizedPerSecond, good.DataStoreOps = report.Percentiles{P50MS: 2.5, P99MS: 30}, 400.5, 12
	good.Agents, good.Answers, good.AgentsCompared = 4, 801, 12
	bad := report.Report{Result: report.Result{Scenario: "story", Nodes: 3, Acked: 10, Lost: 1, Error: "promises were broken"}, Problems: []string{"write w1 is lost"}}
	for _, test := range []struct {
		r    report.Report
		want []string
	}{
		{good, []string{"story with 3 servers", "10 acknowledged: 0 lost, 0 duplicated", "all 3 hold the same 7 keys at revision 9",
			"12 operations on SPIRE's DataStore", "4 agents asked", "801 answers, 400 a second", "12 answers compared",
			"an agent of another is given it: 2.5 ms (median), 30.0 ms (99 %)", "OK: every promise was kept"}},
		{bad, []string{"10 acknowledged: 1 lost", "not shown to hold the same state", "PROBLEM    write w1 is lost", "NOT OK: promises were broken"}},
	} {
		var b strings.Builder
		if err := test.r.WriteText(&b); err != nil {
			t.Fatal(err)
		}
		for _, want := range test.want {
			if !strings.Contains(b.String(), want) {
				t.Errorf("the report does not say %q:\n%s", want, b.String())
			}
		}
	}
}

func TestPlain_ShowsTheServersNowAndThen(t *testing.T) {
	rows := []report.Row{
		{Server: "n1", State: "running", Role: "leader", Term: 2, Applied: 7, Known: true, WritesPerSecond: 5, Events: 3},
		{Server: "n2", State: "down", Events: 2},
	}
	var often, seldom strings.Builder
	d := report.NewPlain(&often, 0)
	d.Printf("step %d", 1)
	d.Servers(rows)
	d.Close()
	want := "step 1\n      n1 leader term 2 applied 7 | n2 down | 5 writes/s, 5 watch events\n"
	if often.String() != want {
		t.Errorf("got  %qwant %q", often.String(), want)
	}
	d = report.NewPlain(&seldom, time.Hour)
	d.Servers(rows)
	if seldom.String() != "" {
		t.Errorf("got %q within the first hour", seldom.String())
	}
}
