package keys_test

import (
	"bufio"
	"encoding/hex"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/spire-raft/spire-raft/keys"
)

// TestGolden pins the layout, which stored data depends on. Lines may be added
// to the file, never changed: the parts of a key, quoted as in Go, and the
// key's bytes in hexadecimal.
func TestGolden(t *testing.T) {
	file, err := os.Open("testdata/golden.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := 0
	for in := bufio.NewScanner(file); in.Scan(); {
		fields := strings.Fields(in.Text())
		if len(fields) == 0 || fields[0] == "#" {
			continue
		}
		lines++
		last := len(fields) - 1
		if got := hex.EncodeToString(encode(t, fields[0], fields[1:last])); got != fields[last] {
			t.Errorf("%s:\n got %s\nwant %s", in.Text(), got, fields[last])
		}
		key, err := hex.DecodeString(fields[last])
		if err != nil {
			t.Fatal(err)
		}
		if got, want := decode(t, fields[0], key), strings.Join(fields[1:last], " "); got != want {
			t.Errorf("%s: reads %s, want %s", fields[last], got, want)
		}
	}
	if lines == 0 {
		t.Error("no key in the file")
	}
}

func encode(t *testing.T, kind string, quoted []string) []byte {
	t.Helper()
	part := func(i int) string {
		text, err := strconv.Unquote(quoted[i])
		if err != nil {
			t.Fatalf("%s: %v", quoted[i], err)
		}
		return text
	}
	switch kind {
	case "item":
		return keys.AppendItem(nil, part(0), part(1))
	case "index":
		sequence, err := strconv.ParseUint(quoted[3], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return keys.AppendIndex(nil, part(0), part(1), part(2), sequence)
	case "counter":
		return keys.AppendCounter(nil, part(0))
	}
	t.Fatalf("unknown kind %q", kind)
	return nil
}

func decode(t *testing.T, kind string, key []byte) string {
	t.Helper()
	var parts []string
	var err error
	quote := func(part []byte) { parts = append(parts, strconv.Quote(string(part))) }
	switch kind {
	case "item":
		var item keys.Item
		item, err = keys.ParseItem(key)
		quote(item.Type)
		quote(item.ID)
	case "index":
		var index keys.Index
		index, err = keys.ParseIndex(key)
		quote(index.Type)
		quote(index.Field)
		quote(index.Value)
		parts = append(parts, strconv.FormatUint(index.Sequence, 10))
	case "counter":
		var name []byte
		name, err = keys.ParseCounter(key)
		quote(name)
	}
	if err != nil {
		t.Fatalf("%x: %v", key, err)
	}
	return strings.Join(parts, " ")
}
