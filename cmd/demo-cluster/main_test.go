package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestChaos_LosesTheLeaderWithItsDiskAndNothingElse is the whole demo in short.
// With this seed the first thing that happens is that the leader is killed and
// its disk lost.
func TestChaos_LosesTheLeaderWithItsDiskAndNothingElse(t *testing.T) {
	d := start(t, t.TempDir(), "--scenario=chaos", "--duration=3s", "--seed=6", "--clients=24", "--json")
	status := d.wait()
	r := d.result()
	if status != 0 || !r.OK || r.Error != "" {
		t.Fatalf("exit status %d, %+v\n%s", status, r, d.stderr.String())
	}
	if r.Acked == 0 || r.Lost != 0 || r.Duplicated != 0 || !r.HashEqual {
		t.Errorf("writes: %+v", r)
	}
	if w := r.Watch; w.Events == 0 || w.Gaps != 0 || w.Duplicates != 0 || w.OutOfOrder != 0 || w.P50MS <= 0 || w.P99MS < w.P50MS {
		t.Errorf("watchers: %+v", w)
	}
	if p := r.Propagation; p.P50MS <= 0 || p.P99MS < p.P50MS || r.AuthorizedPerSecond <= 0 || r.DataStoreOps < r.Acked {
		t.Errorf("agents: propagation %+v, %v answers/s, %d operations", p, r.AuthorizedPerSecond, r.DataStoreOps)
	}
	if len(r.Failovers) == 0 || r.Failovers[0].RecoveryMS <= 0 {
		t.Errorf("failovers: %+v", r.Failovers)
	}
	if r.DisksReplaced == 0 {
		t.Errorf("no server that lost its disk was replaced: %+v", r)
	}
	for _, want := range []string{
		"n1: POST /v1/join-tokens?node=n2&ttl=1m0s: v2/demo/", "loss of the disk of leader n1",
		": DELETE /v1/servers/n1", "/v1/join-tokens?node=n4", "n4, in the place of n1, has its vote",
	} {
		if !strings.Contains(d.stderr.String(), want) {
			t.Errorf("the output does not say %q:\n%s", want, d.stderr.String())
		}
	}
	if left := d.leftovers(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestServe_SkipInvalidAppliesTheRestAndListsTheOthers(t *testing.T) {
	tmp := t.TempDir()
	file := filepath.Join(t.TempDir(), "entries.json")
	const content = `{"entries":[
		{"entry_id":"bad","parent_id":"spiffe://a/p","selectors":[{"type":"unix","value":"uid:1"}]},
		{"entry_id":"good","spiffe_id":"spiffe://a/x","parent_id":"spiffe://a/p","selectors":[{"type":"unix","value":"uid:1"}],"federates_with":["b"]},
		{"entry_id":"worse","spiffe_id":"spiffe://a/y","parent_id":7}]}`
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	d := start(t, tmp, "--scenario=serve", "--plain", "--nodes=1", "--duration=1ms", "--skip-invalid", "--entries="+file)
	status := d.wait()
	for _, want := range []string{
		"leaving out 2 malformed entries", "entry 1: spiffe_id: is missing", "entry 3: parent_id: is a number", "entry 3: selectors: there must be",
		"1 registration entries created", "OK: every promise was kept",
	} {
		if !strings.Contains(d.stdout.String(), want) {
			t.Errorf("the output does not say %q", want)
		}
	}
	if status != 0 || t.Failed() {
		t.Errorf("exit status %d\n%s\n%s", status, d.stdout.String(), d.stderr.String())
	}
}

func TestServe_EndsWithCtrlC(t *testing.T) {
	d := start(t, t.TempDir(), "--scenario=serve", "--plain")
	servers := d.servers(3)
	d.await("Ctrl-C")
	d.signal(os.Interrupt)
	if status := d.wait(); status != 0 || !strings.Contains(d.stdout.String(), "OK: every promise was kept") {
		t.Errorf("exit status %d\n%s\n%s", status, d.stdout.String(), d.stderr.String())
	}
	awaitGone(t, servers)
	if left := d.leftovers(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestStory_CtrlCIsAFailureThatCleansUp(t *testing.T) {
	d := start(t, t.TempDir(), "--plain")
	d.await("n1 leads")
	d.signal(os.Interrupt)
	if status := d.wait(); status != exitFailed || !strings.Contains(d.stdout.String(), "NOT OK: interrupted") {
		t.Errorf("exit status %d\n%s\n%s", status, d.stdout.String(), d.stderr.String())
	}
	if left := d.leftovers(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestServe_AKilledParentLeavesNoProcessAndTheNextRunSweeps(t *testing.T) {
	tmp := t.TempDir()
	d := start(t, tmp, "--scenario=serve", "--plain", "--nodes=2")
	servers := d.servers(2)
	d.await("Ctrl-C")
	// A process that is stopped can't notice that its parent is gone.
	if err := syscall.Kill(servers[1].pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	d.signal(os.Kill)
	d.wait()
	awaitGone(t, servers)
	left := d.leftovers()
	if len(left) != 1 {
		t.Fatalf("left behind: %q, want the directory of the run", left)
	}

	next := start(t, tmp, "--scenario=serve", "--plain", "--nodes=1", "--duration=1ms")
	next.await("Removed " + left[0])
	if status := next.wait(); status != 0 {
		t.Errorf("exit status %d\n%s\n%s", status, next.stdout.String(), next.stderr.String())
	}
	if left := next.leftovers(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestServe_StartsAKilledServerAgain(t *testing.T) {
	tmp := t.TempDir()
	dir := filepath.Join(tmp, "run")
	d := start(t, tmp, "--scenario=serve", "--plain", "--dir="+dir, "--nodes=3")
	servers := d.servers(3)
	d.await("Ctrl-C")

	other := start(t, tmp, "--plain", "--json", "--dir="+dir)
	status := other.wait()
	if r := other.result(); status != exitFailed || !strings.Contains(r.Error, "in use") {
		t.Errorf("a second run in the directory: exit status %d, %+v", status, r)
	}

	if err := syscall.Kill(servers[0].pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	d.await("n1 ended by itself: signal: killed")
	d.await("n1 is back")
	d.signal(syscall.SIGTERM)
	if status := d.wait(); status != 0 {
		t.Errorf("exit status %d\n%s\n%s", status, d.stdout.String(), d.stderr.String())
	}
	if left := d.leftovers(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestRun_BadInputIsRefusedBeforeAnythingStarts(t *testing.T) {
	tmp := t.TempDir()
	work := t.TempDir()
	malformed, nothing := filepath.Join(work, "malformed.json"), filepath.Join(work, "nothing.json")
	foreign := filepath.Join(work, "foreign")
	for path, content := range map[string]string{
		malformed: `{"entries":[{"parent_id":"spiffe://a/b"},` +
			`{"entry_id":"good","spiffe_id":"spiffe://a/x","parent_id":"spiffe://a/p","selectors":[{"type":"unix","value":"uid:1"}]},{"spiffe_id":7}]}`,
		nothing:                 `{"entries":[{}]}`,
		foreign + "/thesis.txt": "x",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name   string
		args   []string
		status int
		want   []string // in the error, or on standard error for wrong usage
	}{
		{"malformed entries", []string{"--entries", malformed}, exitFailed, []string{malformed, "2 of 3", "entry 1: spiffe_id: is missing", "entry 3: spiffe_id: is a number"}},
		{"nothing but malformed entries", []string{"--skip-invalid", "--entries", nothing}, exitFailed, []string{nothing, "1 of 1", "entry 1: selectors"}},
		{"no entries file", []string{"--entries", filepath.Join(work, "none")}, exitFailed, []string{"none", "no such file"}},
		{"a directory of someone else", []string{"--dir", foreign}, exitFailed, []string{foreign, "not made by demo-cluster"}},
		{"an unknown scenario", []string{"--scenario", "peace"}, exitUsage, []string{"peace", "story, chaos, serve"}},
		{"an unknown flag", []string{"--colour"}, exitUsage, []string{"-colour", "Flags:"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := start(t, tmp, append(test.args, "--json")...)
			status := d.wait()
			if status != test.status {
				t.Errorf("exit status %d, want %d", status, test.status)
			}
			text := d.stderr.String()
			if test.status == exitFailed {
				r := d.result()
				if text = r.Error; r.OK {
					t.Errorf("result %+v", r)
				}
			}
			for _, want := range test.want {
				if !strings.Contains(text, want) {
					t.Errorf("said %q, want %q", text, want)
				}
			}
			if left := d.leftovers(); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}
