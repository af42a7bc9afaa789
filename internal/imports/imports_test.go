package imports_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// root is the folder of the module.
const root = "../.."

// TestImports checks every file but tests, whatever system it is for. Tests may
// import what they like.
func TestImports(t *testing.T) {
	checked := 0
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return skip(name)
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		checked++
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, name), nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, imp := range file.Imports {
			imported, err := strconv.Unquote(imp.Path.Value)
			if err != nil {
				return err
			}
			if problem := violation(path.Dir(name), imported); problem != "" {
				t.Errorf("%s: %s", name, problem)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if checked == 0 {
		t.Error("no file was checked")
	}
}

// skip leaves out hidden folders, other modules, and what the go command
// ignores: folders named testdata, except for the package at the top.
func skip(folder string) error {
	base := path.Base(folder)
	if folder == "." || folder == "testdata" {
		return nil
	}
	if _, err := os.Stat(filepath.Join(root, folder, "go.mod")); err == nil || base[0] == '.' || base[0] == '_' || base == "testdata" {
		return fs.SkipDir
	}
	return nil
}

func TestViolation(t *testing.T) {
	for _, c := range []struct {
		folder, path string
		allowed      bool
	}{
		{"store", "context", true},
		{"store", module + "/store/txn", false},
		{"store", "github.com/tidwall/btree", false},
		{"store/txn", "github.com/tidwall/btree", true},
		{"store/txn", module + "/store", true},
		{"store/storetest", module + "/raftstore", false},
		{"keys", module + "/store", false},
		{"proto/fsm/v1", "google.golang.org/protobuf/runtime/protoimpl", true},
		{"proto/fsm/v1", module + "/fsm", false},
		{"fsm", "go.etcd.io/bbolt", true},
		{"fsm", "github.com/hashicorp/raft", false},
		{"fsm", "math/rand/v2", false},
		{"fsm", "net/http", false},
		{"fsm", module + "/transport", false},
		{"fsm", module + "/internal/boltfile", true},
		{"fsm/internal/x", module + "/fsm", true},
		{"internal/boltfile", "go.etcd.io/bbolt", false},
		{"transport/rpc", module + "/transport", true},
		{"transport", module + "/transport/rpc", true},
		{"transport", module + "/store", false},
		{"transport", "github.com/hashicorp/raft", false},
		{"raftstore/internal/x", "github.com/hashicorp/memberlist", true},
		{"raftstore", module + "/cmd/demo-cluster/internal/x", false},
		{"cmd/demo-cluster", module + "/raftstore", true},
		{"cmd/demo-cluster", "golang.org/x/term", true},
		{"cmd/demo-cluster", "github.com/hashicorp/raft", false},
		{"testdata", module + "/store", false},
		{"nowhere", "context", false},
	} {
		if problem := violation(c.folder, c.path); (problem == "") != c.allowed {
			t.Errorf("%s imports %s: got %q, want allowed %v", c.folder, c.path, problem, c.allowed)
		}
	}
}
