package cluster_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/cluster"
)

const lockName = "demo-cluster.lock"

func open(t *testing.T, dir, parent string, keep bool) *cluster.Workspace {
	t.Helper()
	w, err := cluster.OpenWorkspace(dir, parent, keep)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// addFiles puts there what a run puts there.
func addFiles(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "server-n1", "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "server-n1", "data", "raft.db"), "x")
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestWorkspace_LeavesNothingBehind(t *testing.T) {
	parent := t.TempDir()
	empty := filepath.Join(parent, "empty")
	if err := os.Mkdir(empty, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, dir string
		stays     bool // the directory itself, which was there before
	}{
		{"a temporary directory", "", false},
		{"a directory of its own making", filepath.Join(parent, "new"), false},
		{"a directory that was there", empty, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := open(t, test.dir, parent, false)
			addFiles(t, w.Dir)
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if exists(w.Dir) != test.stays || exists(filepath.Join(w.Dir, lockName)) || exists(filepath.Join(w.Dir, "server-n1")) {
				t.Error("something is left, or gone that must not be")
			}
		})
	}
}

func TestWorkspace_KeepKeeps(t *testing.T) {
	parent := t.TempDir()
	w := open(t, "", parent, true)
	addFiles(t, w.Dir)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if swept := cluster.Sweep(parent, time.Now().Add(time.Hour)); len(swept) > 0 || !exists(filepath.Join(w.Dir, "server-n1")) {
		t.Errorf("swept %q", swept)
	}
}

func TestOpenWorkspace_RefusesAForeignDirectory(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "thesis.txt"), "x")
	if _, err := cluster.OpenWorkspace(dir, "", false); !errors.Is(err, cluster.ErrDirForeign) {
		t.Errorf("error %v", err)
	}
	if !exists(filepath.Join(dir, "thesis.txt")) || exists(filepath.Join(dir, lockName)) {
		t.Error("the directory was changed")
	}
}

func TestOpenWorkspace_RefusesADirectoryInUse(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, "", false)
	addFiles(t, dir)
	if _, err := cluster.OpenWorkspace(dir, "", false); !errors.Is(err, cluster.ErrDirInUse) {
		t.Errorf("error %v", err)
	}
	if !exists(filepath.Join(dir, "server-n1", "data", "raft.db")) {
		t.Error("the other run's files are gone")
	}
}

func TestOpenWorkspace_RefusesAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, "x")
	if _, err := cluster.OpenWorkspace(path, "", false); err == nil {
		t.Error("a file was taken for a directory")
	}
}

func TestOpenWorkspace_ReplacesAnEarlierRunAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir, "", true)
	addFiles(t, dir)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "notes.txt"), "x")
	open(t, dir, "", false)
	if exists(filepath.Join(dir, "server-n1")) {
		t.Error("the earlier run's files are still there")
	}
	if !exists(filepath.Join(dir, "notes.txt")) {
		t.Error("a file that is not the demo's is gone")
	}
}

func TestSweep_TakesOnlyWhatNobodyHolds(t *testing.T) {
	parent := t.TempDir()
	live := open(t, "", parent, false)
	make := func(name, mark string, age time.Duration) string {
		dir := filepath.Join(parent, name)
		addFiles(t, dir)
		if mark != "-" {
			write(t, filepath.Join(dir, lockName), mark)
		}
		when := time.Now().Add(-age)
		if err := os.Chtimes(dir, when, when); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	abandoned := make("spire-raft-demo-1", "sweep\n", 0)
	unmarked := make("spire-raft-demo-2", "", time.Hour)
	stay := []string{
		live.Dir,
		make("spire-raft-demo-3", "", 0), // about to be marked
		make("spire-raft-demo-4", "keep\n", time.Hour), // kept
		make("spire-raft-demo-5", "-", time.Hour),      // with files, but none of the demo's marks
		make("someone-elses", "sweep\n", time.Hour),    // named otherwise
	}
	swept := cluster.Sweep(parent, time.Now())
	if len(swept) != 2 || exists(abandoned) || exists(unmarked) {
		t.Errorf("swept %q, want %q and %q", swept, abandoned, unmarked)
	}
	for _, dir := range stay {
		if !exists(dir) {
			t.Errorf("%s is gone", dir)
		}
	}
}

func TestSweep_TakesAnEmptyDirectoryOnceItIsOld(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "spire-raft-demo-1")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if swept := cluster.Sweep(parent, time.Now()); len(swept) > 0 {
		t.Errorf("swept %q, whose run may be about to lock it", swept)
	}
	if swept := cluster.Sweep(parent, time.Now().Add(time.Hour)); len(swept) != 1 {
		t.Errorf("swept %q", swept)
	}
}

func TestSweep_LeavesWhatALinkPointsTo(t *testing.T) {
	parent, other := t.TempDir(), t.TempDir()
	write(t, filepath.Join(other, lockName), "sweep\n")
	if err := os.Symlink(other, filepath.Join(parent, "spire-raft-demo-1")); err != nil {
		t.Fatal(err)
	}
	if swept := cluster.Sweep(parent, time.Now().Add(time.Hour)); len(swept) > 0 || !exists(filepath.Join(other, lockName)) {
		t.Errorf("swept %q", swept)
	}
}
