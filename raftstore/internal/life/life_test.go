package life_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/spire-raft/spire-raft/raftstore/internal/life"
)

func open(t *testing.T, dir string) *life.Life {
	t.Helper()
	l, err := life.Open(dir)
	must(t, err)
	return l
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// opened is a directory of an instance that was opened once more.
func opened(t *testing.T, dir string) *life.Life {
	t.Helper()
	l := open(t, dir)
	must(t, l.Enter("instance", false))
	must(t, l.Begin())
	return l
}

func TestEnter_StaysWhatItWas(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	if l.Instance() != "" || l.Founding() || len(l.Openings()) != 0 {
		t.Errorf("a new directory has %q, %v, %v", l.Instance(), l.Founding(), l.Openings())
	}
	must(t, l.Enter("first", true))
	must(t, l.Enter("second", false))
	if l = open(t, dir); l.Instance() != "first" || !l.Founding() {
		t.Errorf("got %q, founding %v", l.Instance(), l.Founding())
	}
	must(t, l.Founded())
	if l = open(t, dir); l.Instance() != "first" || l.Founding() {
		t.Errorf("got %q, founding %v", l.Instance(), l.Founding())
	}
}

// The file is durable: one that an older version wrote must be read.
func TestOpen_GoldenFile(t *testing.T) {
	dir := t.TempDir()
	const golden = `{"format":1,"instance":"0123abcd","openings":[{"number":4,"nonce":"000102030405060708090a0b0c0d0e0f","asked":true},` +
		`{"number":7,"nonce":"101112131415161718191a1b1c1d1e1f"}]}` + "\ncrc32c 4d85bcf0\n"
	must(t, os.WriteFile(filepath.Join(dir, life.FileName), []byte(golden), 0o600))
	l := open(t, dir)
	want := []life.Opening{
		{Number: 4, Nonce: life.Nonce{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, Asked: true},
		{Number: 7, Nonce: life.Nonce{16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31}},
	}
	if l.Instance() != "0123abcd" || !slices.Equal(l.Openings(), want) {
		t.Errorf("got %q, %+v", l.Instance(), l.Openings())
	}
}

func TestOpenings_TellACopy(t *testing.T) {
	dir, copied := t.TempDir(), t.TempDir()
	l := opened(t, dir)
	_, err := l.Ask()
	must(t, err)
	data, err := os.ReadFile(filepath.Join(dir, life.FileName))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(copied, life.FileName), data, 0o600))
	original, c := opened(t, dir).Openings(), opened(t, copied).Openings()
	if original[0] != c[0] || original[1].Number != c[1].Number || original[1] == c[1] {
		t.Errorf("the original shows %v, the copy %v", original, c)
	}
}

// TestOpenings_ACrashLoopForgetsNothing crashes at every step, and records
// whatever the cluster was asked for, or not, sooner or later.
func TestOpenings_ACrashLoopForgetsNothing(t *testing.T) {
	top := t.TempDir()
	rapid.Check(t, func(r *rapid.T) {
		dir, err := os.MkdirTemp(top, "")
		must(t, err)
		l := opened(t, dir)
		var recorded life.Opening
		var pending [][]life.Opening // what the cluster was asked to record, in order
		for range rapid.IntRange(1, 60).Draw(r, "steps") {
			switch rapid.IntRange(0, 3).Draw(r, "step") {
			case 0:
				l = opened(t, dir)
			case 1:
				_, err := l.Ask()
				must(t, err)
				pending = append(pending, l.Openings())
			case 2: // some of it takes effect, the rest is lost
				for _, openings := range pending {
					last := openings[len(openings)-1]
					if rapid.Bool().Draw(r, "lost") || last.Number <= recorded.Number {
						continue
					}
					recorded = last
				}
				pending = nil
			case 3:
				must(t, l.Recorded(recorded))
			}
			shown := l.Openings()
			known := slices.ContainsFunc(shown, func(o life.Opening) bool { return o.Number == recorded.Number && o.Nonce == recorded.Nonce })
			if len(shown) > life.OpeningsMax || recorded.Number > 0 && !known {
				r.Fatalf("recorded is %v, shown %v", recorded, shown)
			}
		}
	})
}
