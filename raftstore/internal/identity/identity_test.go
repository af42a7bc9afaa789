package identity_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spire-raft/spire-raft/raftstore/internal/identity"
	"github.com/spire-raft/spire-raft/raftstore/internal/sealedfile"
	"github.com/spire-raft/spire-raft/store"
)

const fileName = "identity.json"

func mustCreate(t *testing.T, dir, cluster, node string) identity.Identity {
	t.Helper()
	id, err := identity.Create(dir, cluster, node)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestCreate_LoadReturnsIt(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	want := mustCreate(t, dir, "prod", "node-1")
	if want.ClusterID != "prod" || want.NodeID != "node-1" || want.Format != identity.Format || identity.CheckID(want.DiskID) != nil {
		t.Errorf("created %+v", want)
	}
	if other := mustCreate(t, filepath.Join(t.TempDir(), "c"), "prod", "node-1"); other.DiskID == want.DiskID {
		t.Errorf("two directories have the disk id %s", want.DiskID)
	}
	if got, err := identity.Load(dir); got != want || err != nil {
		t.Errorf("loaded %+v, %v", got, err)
	}
	for path, mode := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, fileName): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v (%v), want %v", path, info.Mode().Perm(), err, mode)
		}
	}
}

// The file is durable: one that an older version wrote must be read.
func TestLoad_GoldenFile(t *testing.T) {
	dir := t.TempDir()
	const golden = `{"format":1,"cluster_id":"prod","node_id":"node-1","disk_id":"5f3c9a0e71d24b8896ab10f4c2de7735"}` + "\ncrc32c 91596f3b\n"
	if err := errors.Join(os.Chmod(dir, 0o700), os.WriteFile(filepath.Join(dir, fileName), []byte(golden), 0o600)); err != nil {
		t.Fatal(err)
	}
	want := identity.Identity{Format: 1, ClusterID: "prod", NodeID: "node-1", DiskID: "5f3c9a0e71d24b8896ab10f4c2de7735"}
	if got, err := identity.Load(dir); got != want || err != nil {
		t.Errorf("loaded %+v, %v, want %+v", got, err, want)
	}
}

func TestCreate_GeneratesWhatIsEmpty(t *testing.T) {
	a := mustCreate(t, t.TempDir()+"/a", "", "")
	b := mustCreate(t, t.TempDir()+"/b", "", "")
	for _, id := range []string{a.ClusterID, a.NodeID, b.ClusterID, b.NodeID} {
		if len(id) != 32 || identity.CheckID(id) != nil {
			t.Errorf("generated %q", id)
		}
	}
	if a.NodeID == b.NodeID || a.ClusterID == b.ClusterID || a.NodeID == a.ClusterID {
		t.Errorf("generated the same id twice: %+v %+v", a, b)
	}
}

func TestCreate_AgainIsANoOpOrAMismatch(t *testing.T) {
	for _, tc := range []struct {
		cluster, node string
		want          error
	}{
		{"prod", "n1", nil},
		{"prod", "", nil},
		{"", "n1", nil},
		{"", "", nil},
		{"prod", "n2", identity.ErrMismatch},
		{"test", "n1", identity.ErrMismatch},
		{"test", "", identity.ErrMismatch},
		{"Prod", "n1", store.ErrInvalid},
	} {
		t.Run(fmt.Sprintf("%s %s", tc.cluster, tc.node), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "d")
			first := mustCreate(t, dir, "prod", "n1")
			got, err := identity.Create(dir, tc.cluster, tc.node)
			if !errors.Is(err, tc.want) || err == nil && got != first {
				t.Errorf("got %+v, %v, want %v", got, err, tc.want)
			}
			if now, err := identity.Load(dir); now != first || err != nil {
				t.Errorf("the directory is now %+v, %v", now, err)
			}
		})
	}
}

func TestCreate_DirectoryWithOtherContents(t *testing.T) {
	for name, want := range map[string]error{
		"raft.db":            identity.ErrForeignData,
		"anything":           identity.ErrForeignData,
		"lost+found":         nil, // on the root of a volume
		".sealed-123456.tmp": nil, // from a Create that was killed
		"lock":               nil,
	} {
		t.Run(name, func(t *testing.T) {
			dir := privateDir(t)
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := identity.Create(dir, "prod", "n1"); !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
			_, err := os.Stat(filepath.Join(dir, fileName))
			if written := err == nil; written != (want == nil) {
				t.Errorf("identity written: %v", written)
			}
		})
	}
}

func TestCreate_WhileLocked(t *testing.T) {
	dir := privateDir(t)
	unlock, err := identity.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := identity.Create(dir, "prod", "n1"); !errors.Is(err, identity.ErrLocked) {
		t.Errorf("got %v", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	mustCreate(t, dir, "prod", "n1")
}

func TestLoad_BadDirectories(t *testing.T) {
	write := func(doc any) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := sealedfile.Write(filepath.Join(dir, fileName), doc); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tc := range []struct {
		name  string
		spoil func(t *testing.T, dir string)
		want  error
		says  string
	}{
		{"missing directory", func(t *testing.T, dir string) { remove(t, dir) }, identity.ErrNotInitialized, "Init"},
		{"empty directory", func(t *testing.T, dir string) { remove(t, filepath.Join(dir, fileName)) }, identity.ErrNotInitialized, "Init"},
		{"data without identity", func(t *testing.T, dir string) {
			remove(t, filepath.Join(dir, fileName))
			touch(t, filepath.Join(dir, "raft.db"))
		}, identity.ErrForeignData, "raft.db"},
		{"newer format", write(map[string]any{"format": identity.Format + 1, "owner": "x"}), identity.ErrNewerFormat, "format 2"},
		{"no format", write(map[string]any{"cluster_id": "c", "node_id": "n"}), store.ErrCorrupt, ""},
		{"no node id", write(map[string]any{"format": 1, "cluster_id": "c"}), store.ErrCorrupt, ""},
		{"odd cluster id", write(map[string]any{"format": 1, "cluster_id": "../c", "node_id": "n"}), store.ErrCorrupt, ""},
		{"empty file", func(t *testing.T, dir string) { truncate(t, dir, 0) }, store.ErrCorrupt, "copy"},
		{"truncated file", func(t *testing.T, dir string) { truncate(t, dir, 20) }, store.ErrCorrupt, "copy"},
		{"directory open to the group", func(t *testing.T, dir string) { chmod(t, dir, 0o750) }, identity.ErrPermissions, "chmod"},
		{"directory open to the world", func(t *testing.T, dir string) { chmod(t, dir, 0o701) }, identity.ErrPermissions, "chmod"},
		{"file open to the group", func(t *testing.T, dir string) { chmod(t, filepath.Join(dir, fileName), 0o640) }, identity.ErrPermissions, "chmod"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "d")
			mustCreate(t, dir, "prod", "n1")
			tc.spoil(t, dir)
			id, err := identity.Load(dir)
			if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %+v, %v, want %v and %q", id, err, tc.want, tc.says)
			}
		})
	}
}

func TestLoad_EveryFlippedBitIsFound(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	mustCreate(t, dir, "prod", "n1")
	path := filepath.Join(dir, fileName)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range 8 * len(data) {
		data[bit/8] ^= 1 << (bit % 8)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if id, err := identity.Load(dir); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("bit %d: got %+v, %v", bit, id, err)
		}
		data[bit/8] ^= 1 << (bit % 8)
	}
}

func TestLoad_PathIsAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	touch(t, path)
	if _, err := identity.Load(path); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Error(err)
	}
}

func TestLock_SecondHolderIsRefused(t *testing.T) {
	dir := privateDir(t)
	unlock, err := identity.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = identity.Lock(dir)
	if !errors.Is(err, identity.ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("got %v, want ErrLocked and the process id", err)
	}
	if err := errors.Join(unlock(), unlock()); err != nil {
		t.Fatal(err)
	}
	unlock, err = identity.Lock(dir)
	if err != nil {
		t.Fatalf("after unlock: %v", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
}

func TestCheckID(t *testing.T) {
	for id, ok := range map[string]bool{
		"a": true, "node-1.example_x": true, strings.Repeat("a", 128): true, "-": true, "...": true,
		"": false, strings.Repeat("a", 129): false, "A": false, "a b": false, "a/b": false, "ä": false, ".": false, "..": false, "a\x00": false,
	} {
		if err := identity.CheckID(id); ok != (err == nil) || err != nil && !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func privateDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

func touch(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func truncate(t *testing.T, dir string, size int64) {
	t.Helper()
	if err := os.Truncate(filepath.Join(dir, fileName), size); err != nil {
		t.Fatal(err)
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}
