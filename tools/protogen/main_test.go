package main

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	base  = "syntax = \"proto3\";\npackage p.base;\noption go_package = \"example.org/p/base\";\n// Thing is a thing.\nmessage Thing { bytes key = 1; }\n"
	outer = "syntax = \"proto3\";\npackage p.outer.v1;\nimport \"p/base/base.proto\";\noption go_package = \"example.org/p/outer/v1;outerv1\";\nmessage Outer { p.base.Thing thing = 1; }\n"
)

// tree makes a folder with the files in content.
func tree(t *testing.T, content map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range content {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// generated returns the generated files below dir.
func generated(t *testing.T, dir string) map[string]string {
	t.Helper()
	names, err := find(dir, ".pb.go")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(text)
	}
	return files
}

func TestRun_GeneratesEveryFileNextToItsSource(t *testing.T) {
	dir := tree(t, map[string]string{"base/base.proto": base, "outer/v1/outer.proto": outer, "gone/gone.pb.go": "package gone\n"})
	if err := run(t.Context(), dir, "p"); err != nil {
		t.Fatal(err)
	}
	first := generated(t, dir)
	if !strings.Contains(first["base/base.pb.go"], "// Thing is a thing.\ntype Thing struct") {
		t.Errorf("base.pb.go lacks the message or its comment:\n%s", first["base/base.pb.go"])
	}
	if !strings.Contains(first["outer/v1/outer.pb.go"], "package outerv1") {
		t.Errorf("outer.pb.go is of another package:\n%s", first["outer/v1/outer.pb.go"])
	}
	if len(first) != 2 {
		t.Errorf("%d generated files, want 2: the one without source must go", len(first))
	}
	if err := run(t.Context(), dir, "p"); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(first, generated(t, dir)) {
		t.Error("a second run generated other code")
	}
}

func TestRun_NamesWhatIsWrong(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"a syntax error", "syntax = \"proto3\";\nmessage {", "p/x.proto:2"},
		{"an import without the prefix", "syntax = \"proto3\";\nimport \"x/y.proto\";\n", "imports must begin with p/"},
		{"no Go package", "syntax = \"proto3\";\nmessage M {}\n", "protoc-gen-go"},
	} {
		err := run(t.Context(), tree(t, map[string]string{"x.proto": c.text}), "p")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error is %v, want one with %q", c.name, err, c.want)
		}
	}
}
