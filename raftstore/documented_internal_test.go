package raftstore

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// found are the first groups of all matches in a file, sorted. Of a document it is
// the part behind a heading, up to the next one.
func found(t *testing.T, path, heading, pattern string) (out []string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	if heading != "" {
		_, text, _ = strings.Cut(text, "\n"+heading+"\n")
		text, _, _ = strings.Cut(text, "\n#")
	}
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		out = append(out, m[1])
	}
	slices.Sort(out)
	return out
}

// What others rely on by name or number is in the documents, each once.
func TestNamesAndNumbersAreDocumented(t *testing.T) {
	events := found(t, "audit.go", "", `(?m)^\taudit\w+ += "(\w+)"`)
	var documented []string
	for _, cell := range found(t, "../docs/SECURITY.md", "## Audit lines", "(?m)^\\| (`[^|]*`) \\|") {
		for _, m := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(cell, -1) {
			documented = append(documented, m[1])
		}
	}
	documented = slices.DeleteFunc(documented, func(name string) bool { return name == "audit" }) // the table's head
	slices.Sort(documented)
	if len(events) == 0 || !slices.Equal(events, documented) {
		t.Errorf("audit lines are %q, documented %q", events, documented)
	}

	methods := found(t, "peer.go", "", `(?m)^\tmethod\w+ += (\d+)`)
	if documented := found(t, "../docs/FORMATS.md", "### Methods", `(?m)^\| (\d+) \| [a-z ]+ \| (?:peer|join) \|`); !slices.Equal(methods, documented) {
		t.Errorf("methods are %q, documented %q", methods, documented)
	}

	codes := found(t, "rpc.go", "", `(?m)^\t\{(\d+), \w`)
	if documented := found(t, "../docs/FORMATS.md", "### Methods", `(?m)^\| ([1-9]\d*) \| [^|]+ \|$`); !slices.Equal(codes, documented) {
		t.Errorf("codes of errors are %q, documented %q", codes, documented)
	}
}
