package scenario

import (
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/cluster"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/report"
)

func TestFind(t *testing.T) {
	for _, want := range All {
		if got, err := Find(want.Name); err != nil || got.Name != want.Name {
			t.Errorf("%s: %v, %v", want.Name, got.Name, err)
		}
	}
	if _, err := Find("peace"); err == nil || !strings.Contains(err.Error(), "story, chaos, serve") {
		t.Errorf("error %v, want one that names the scenarios", err)
	}
}

// testSession is a session over servers that don't run.
func testSession(t *testing.T, nodes int) *session {
	t.Helper()
	ws, err := cluster.OpenWorkspace("", t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	c, err := cluster.New(cluster.Config{Nodes: nodes, Workspace: ws, TrustDomain: spiffeid.RequireTrustDomainFromString("a")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		if err := ws.Close(); err != nil {
			t.Error(err)
		}
	})
	return newSession(Config{Cluster: c, Display: report.NewPlain(os.Stderr, time.Hour), Duration: time.Minute})
}

func TestChaos_NeverDisturbsAMajority(t *testing.T) {
	for nodes := 3; nodes <= 6; nodes++ {
		s := testSession(t, nodes)
		leader := s.Cluster.Servers[1]
		most, led := 0, 0
		for seed := range uint64(500) {
			m := &monkey{session: s, rng: rand.New(rand.NewPCG(seed, 0))}
			victims := m.victims(leader)
			left := nodes - len(victims)
			if len(victims) == 0 || left < s.Cluster.Quorum() {
				t.Fatalf("seed %d: %d of %d servers disturbed", seed, len(victims), nodes)
			}
			slices.SortFunc(victims, func(a, b *cluster.Server) int { return strings.Compare(a.Name(), b.Name()) })
			if len(slices.Compact(slices.Clone(victims))) != len(victims) {
				t.Fatalf("seed %d: a server is disturbed twice", seed)
			}
			most = max(most, len(victims))
			if slices.Contains(victims, leader) {
				led++
			}
		}
		if most != nodes-s.Cluster.Quorum() {
			t.Errorf("%d nodes: at most %d disturbed at once, a minority has %d", nodes, most, nodes-s.Cluster.Quorum())
		}
		if led < 250 {
			t.Errorf("%d nodes: the leader was among the victims %d times of 500", nodes, led)
		}
	}
}

func TestChaos_DemandsEnoughOfEverything(t *testing.T) {
	for _, test := range []struct {
		name      string
		acked     int
		failovers int
		disks     int
		renewals  int
		rotations int
		problem   string
	}{
		{"enough", 3000, 4, 2, 6, 3, ""},
		{"too few writes", 2900, 4, 2, 6, 3, "48 acknowledged writes/s"},
		{"too few failovers", 3000, 3, 2, 6, 3, "3 failovers in 1m0s"},
		{"too few lost disks", 3000, 4, 1, 6, 3, "1 lost disks in 1m0s"},
		{"too few renewals", 3000, 4, 2, 5, 3, "5 renewals of certificates in 60 s"},
		{"too few rotations", 3000, 4, 2, 6, 2, "replaced 2 times in 1m0s"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := testSession(t, 3)
			s.failovers = make([]report.Failover, test.failovers)
			s.disksReplaced, s.rotations, s.certificates.renewals = test.disks, test.rotations, test.renewals
			s.assess(time.Minute, test.acked, &monkey{})
			if got := strings.Join(s.problems, "; "); !strings.Contains(got, test.problem) || (got == "") != (test.problem == "") {
				t.Errorf("problems %q, want %q", got, test.problem)
			}
		})
	}
}
