package fsm_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/fsm"
)

var anAuthority = fsm.Authority{TrustDomain: "example.org", Certificate: []byte("certificate"), Key: []byte("key")}

// step is a command and what it must come to.
type step struct {
	name   string
	cmd    []byte
	want   fsm.Outcome
	detail string
}

func applySteps(t *testing.T, m *fsm.Machine, steps []step) {
	t.Helper()
	for _, s := range steps {
		res := apply(t, m, s.cmd)[0]
		if res.Outcome != s.want || !strings.Contains(res.Detail, s.detail) || (res.Detail == "") != (s.detail == "") {
			t.Fatalf("%s: result %+v, want %v with %q", s.name, res, s.want, s.detail)
		}
		scrub(t, m)
	}
}

func admission(t *testing.T, m *fsm.Machine, node string) (fsm.Admission, bool) {
	t.Helper()
	v, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	a, found, err := v.Admission(node)
	if err != nil {
		t.Fatal(err)
	}
	return a, found
}

func TestInitCluster_HappensOnce(t *testing.T) {
	dir := t.TempDir()
	m := openIn(t, dir)
	applySteps(t, m, []step{
		{"the first", fsm.EncodeInitCluster("aa", anAuthority, "n1", "d1", fsm.KeyHash{1}), fsm.Committed, ""},
		{"a second", fsm.EncodeInitCluster("bb", fsm.Authority{Certificate: []byte("other")}, "n2", "d2", fsm.KeyHash{2}), fsm.Refused, "already"},
	})
	closeMachine(t, m)
	m = openIn(t, dir)
	if got := m.Position().Instance; got != "aa" {
		t.Errorf("instance %q after reopening", got)
	}
	v, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if got, found, err := v.Authority(); err != nil || !found || !reflect.DeepEqual(got, anAuthority) {
		t.Errorf("authority %+v, %v, %v", got, found, err)
	}
	if _, found := admission(t, m, "n2"); found {
		t.Error("the refused command has admitted its node")
	}
}

func TestInitCluster_WithoutAuthority(t *testing.T) {
	m := open(t)
	applySteps(t, m, []step{{"no authority", fsm.EncodeInitCluster("aa", fsm.Authority{}, "n1", "d1", fsm.KeyHash{1}), fsm.Committed, ""}})
	v, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if got, found, err := v.Authority(); err != nil || found {
		t.Errorf("authority %+v, %v, %v", got, found, err)
	}
}

// Two clusters of one name must not take each other's state.
func TestInstall_RefusesAnotherInstance(t *testing.T) {
	grown := func(instance string, entries int) *fsm.Machine {
		m := open(t)
		apply(t, m, fsm.EncodeInitCluster(instance, anAuthority, "n1", "d1", fsm.KeyHash{1}))
		for range entries {
			apply(t, m, writes(t, put("a", instance)))
		}
		return m
	}
	here, same, other := grown("aa", 1), grown("aa", 3), grown("bb", 3)
	before := here.Position()
	if err := install(here, stream(t, other)); !errors.Is(err, fsm.ErrOtherCluster) {
		t.Errorf("a snapshot of another instance: %v", err)
	}
	if after := here.Position(); after != before {
		t.Errorf("position %+v after a refused snapshot, %+v before", after, before)
	}
	if err := install(here, stream(t, same)); err != nil {
		t.Errorf("a snapshot of this instance: %v", err)
	}
	fresh := open(t)
	if err := install(fresh, stream(t, other)); err != nil || fresh.Position().Instance != "bb" {
		t.Errorf("a node without an instance: %v, instance %q", err, fresh.Position().Instance)
	}
}

func TestAdmissions(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	late := now.Add(time.Hour)
	add := func(token fsm.TokenHash, node string) []byte {
		return fsm.EncodeAddJoinToken(token, node, "", late, now)
	}
	a, b, c, d := fsm.TokenHash{1}, fsm.TokenHash{2}, fsm.TokenHash{3}, fsm.TokenHash{4}
	m := open(t)
	applySteps(t, m, []step{
		{"a token for n1", add(a, "n1"), fsm.Committed, ""},
		{"its use by another node", fsm.EncodeUseJoinToken(a, "n2", "d2", fsm.KeyHash{2}, now), fsm.Refused, "another node"},
		{"its use", fsm.EncodeUseJoinToken(a, "n1", "d1", fsm.KeyHash{1}, now), fsm.Committed, ""},
		{"again with another key", fsm.EncodeUseJoinToken(a, "n1", "d1", fsm.KeyHash{11}, now), fsm.Committed, ""},
		{"again when it has expired", fsm.EncodeUseJoinToken(a, "n1", "d1", fsm.KeyHash{11}, late), fsm.Committed, ""},
		{"then with another key", fsm.EncodeUseJoinToken(a, "n1", "d1", fsm.KeyHash{12}, late), fsm.Refused, "expired"},
		{"a token for any node", add(b, ""), fsm.Committed, ""},
		{"its use by n1 on a new disk", fsm.EncodeUseJoinToken(b, "n1", "d9", fsm.KeyHash{11}, now), fsm.Refused, "another disk"},
		{"its use by whoever takes n1's name", fsm.EncodeUseJoinToken(b, "n1", "d1", fsm.KeyHash{66}, now), fsm.Refused, "another key"},
		{"a token for n1 alone", add(c, "n1"), fsm.Committed, ""},
		{"its use by whoever takes n1's name then", fsm.EncodeUseJoinToken(c, "n1", "d1", fsm.KeyHash{66}, now), fsm.Refused, "another key"},
		{"its use by n1", fsm.EncodeUseJoinToken(c, "n1", "d1", fsm.KeyHash{11}, now), fsm.Committed, ""},
		{"the key before n1 has spoken", fsm.EncodeUseJoinToken(a, "n1", "d1", fsm.KeyHash{13}, now), fsm.Committed, ""},
		{"n1 speaks", fsm.EncodeRecordOpening("n1", "d1", opened(1)), fsm.Committed, ""},
		{"the used token in other hands", fsm.EncodeUseJoinToken(a, "n1", "d1", fsm.KeyHash{66}, now), fsm.Refused, "another key"},
		{"the used token in n1's", fsm.EncodeUseJoinToken(a, "n1", "d1", fsm.KeyHash{13}, now), fsm.Committed, ""},
		{"the revocation of a used token", fsm.EncodeRevokeJoinToken(a.ID()), fsm.Refused, "no join token"},
		{"of an unused one", fsm.EncodeRevokeJoinToken(b.ID()), fsm.Committed, ""},
		{"the use of a revoked one", fsm.EncodeUseJoinToken(b, "n2", "d2", fsm.KeyHash{2}, now), fsm.Refused, "unknown"},
	})
	if got, found := admission(t, m, "n1"); !found || got.DiskID != "d1" || got.Key != (fsm.KeyHash{13}) || got.Index == 0 {
		t.Errorf("admission %+v, %v", got, found)
	}
	applySteps(t, m, []step{
		{"the removal", fsm.EncodeRemoveNode("n1"), fsm.Committed, ""},
		{"a token for it", add(d, "n1"), fsm.Committed, ""},
		{"its use", fsm.EncodeUseJoinToken(d, "n1", "d1", fsm.KeyHash{14}, now), fsm.Refused, "removed"},
	})
	if got, found := admission(t, m, "n1"); found {
		t.Errorf("a removed node is still admitted: %+v", got)
	}
}

// opened are openings with these numbers, whose nonces are those of one directory.
func opened(numbers ...uint64) []fsm.Opening {
	var out []fsm.Opening
	for _, n := range numbers {
		out = append(out, fsm.Opening{Number: n, Nonce: [16]byte{byte(n)}})
	}
	return out
}

// forked is opened of a copy, on which those from a number on were others.
func forked(from uint64, numbers ...uint64) []fsm.Opening {
	out := opened(numbers...)
	for i := range out {
		if out[i].Number >= from {
			out[i].Nonce[1] = 1
		}
	}
	return out
}

// A second process on a copy of a directory has other openings since the copy was
// made. A node that does not know which of its openings was recorded shows all.
func TestRecordOpening_NoticesACopy(t *testing.T) {
	m := open(t)
	record := func(disk string, openings []fsm.Opening) []byte { return fsm.EncodeRecordOpening("n1", disk, openings) }
	applySteps(t, m, []step{
		{"of a stranger", record("d1", opened(1)), fsm.Refused, "not admitted"},
		{"the cluster", fsm.EncodeInitCluster("aa", anAuthority, "n1", "d1", fsm.KeyHash{1}), fsm.Committed, ""},
		{"the first", record("d1", opened(1)), fsm.Committed, ""},
		{"the same again", record("d1", opened(1)), fsm.Committed, ""},
		{"a later one, after some that nobody has seen", record("d1", opened(1, 3, 4)), fsm.Committed, ""},
		{"one that the directory did not know to be recorded", record("d1", opened(1, 4, 5)), fsm.Committed, ""},
		{"of a copy from before", record("d1", forked(2, 1, 2)), fsm.Refused, "copy"},
		{"of a copy that was opened more often", record("d1", forked(5, 4, 5, 6)), fsm.Refused, "copy"},
		{"of an old copy", record("d1", opened(1, 3)), fsm.Refused, "copy"},
		{"of a copy that shows what it was made from no more", record("d1", forked(6, 6)), fsm.Refused, "copy"},
		{"of another disk", record("d2", opened(5, 6)), fsm.Refused, "another disk"},
		{"a token", fsm.EncodeAddJoinToken(fsm.TokenHash{1}, "n1", "", time.UnixMilli(9), time.UnixMilli(1)), fsm.Committed, ""},
		{"its use, which changes nothing about it", fsm.EncodeUseJoinToken(fsm.TokenHash{1}, "n1", "d1", fsm.KeyHash{1}, time.UnixMilli(1)), fsm.Committed, ""},
		{"of the copy then", record("d1", forked(5, 4, 5, 6)), fsm.Refused, "copy"},
	})
	if a, _ := admission(t, m, "n1"); a.Opening != opened(5)[0] {
		t.Errorf("recorded is %+v", a.Opening)
	}
}

// Whoever judges may not have applied yet what was recorded.
func TestAdmission_Recognizes(t *testing.T) {
	at3 := fsm.Admission{Opening: opened(3)[0]}
	for name, tc := range map[string]struct {
		admission fsm.Admission
		openings  []fsm.Opening
		want      bool
	}{
		"nothing is recorded":         {fsm.Admission{}, opened(1, 2), true},
		"nothing at all":              {fsm.Admission{}, nil, true},
		"nothing is shown":            {at3, nil, false},
		"the one recorded":            {at3, opened(3), true},
		"those after it":              {at3, opened(3, 5, 6), true},
		"those around it":             {at3, opened(1, 3, 4), true},
		"later news than ours":        {at3, opened(4, 5), true},
		"an older state":              {at3, opened(1, 2), false},
		"another one of the number":   {at3, forked(3, 2, 3, 4), false},
		"a gap where the number was":  {at3, opened(2, 4), false},
		"an older state, opened more": {at3, forked(2, 1, 2, 3, 4, 5), false},
	} {
		if got := tc.admission.Recognizes(tc.openings); got != tc.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
