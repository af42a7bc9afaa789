package gossip

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/memberlist"
)

func TestMeta_RoundTrip(t *testing.T) {
	for _, m := range []meta{
		{"prod", "10.0.0.1:8081", "0123abcd"},
		{"c", "a", ""},
		{strings.Repeat("c", 128), strings.Repeat("a", AddressBytesMax), strings.Repeat("i", instanceBytesMax)},
	} {
		b := m.encode()
		if len(b) > memberlist.MetaMaxSize {
			t.Errorf("%d bytes, memberlist allows %d", len(b), memberlist.MetaMaxSize)
		}
		for _, b := range [][]byte{b, append(bytes.Clone(b), "what later versions add"...)} {
			if got, err := decodeMeta(b); got != m || err != nil {
				t.Errorf("got %+v, %v, want %+v", got, err, m)
			}
		}
		for n := range b {
			if got, err := decodeMeta(b[:n]); err == nil {
				t.Errorf("%d of %d bytes give %+v", n, len(b), got)
			}
		}
	}
}

// The bytes are spoken between versions.
func TestMeta_GoldenBytes(t *testing.T) {
	for golden, m := range map[string]meta{
		"\x01\x04prod\x03a:1\x02ab": {"prod", "a:1", "ab"},
		"\x01\x04prod\x03a:1\x00":   {"prod", "a:1", ""},
	} {
		if got := string(m.encode()); got != golden {
			t.Errorf("encoded %q, want %q", got, golden)
		}
	}
}

func TestMeta_Refused(t *testing.T) {
	for _, b := range []string{"", "\x00", "\x02\x01c\x01a", "\x01\x00\x01a", "\x01\x01C\x01a", "\x01\x01c\x00", "\x01\xff", "\x01\x01c\x01a", "\x01\x01c\x01a\x01A"} {
		if got, err := decodeMeta([]byte(b)); err == nil {
			t.Errorf("%q gives %+v", b, got)
		}
	}
}

func FuzzDecodeMeta(f *testing.F) {
	f.Add(meta{"prod", "10.0.0.1:8081", "0123abcd"}.encode())
	f.Add([]byte("\x01\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMeta(b)
		if err != nil {
			return
		}
		if again, err := decodeMeta(m.encode()); again != m || err != nil {
			t.Errorf("%q gives %+v, and that again %+v, %v", b, m, again, err)
		}
	})
}

func TestMembers_AreBounded(t *testing.T) {
	m := newMembers(Config{NodeID: "self", ClusterID: "prod", Address: "a:1"})
	node := func(i int) *memberlist.Node {
		return &memberlist.Node{Name: fmt.Sprint("n", i), Meta: meta{clusterID: "prod", address: "b:1"}.encode()}
	}
	for i := range MembersMax + 10 {
		m.NotifyJoin(node(i))
	}
	if n := len(m.list()); n != MembersMax {
		t.Fatalf("%d members", n)
	}
	m.NotifyLeave(node(3))
	m.NotifyJoin(node(MembersMax + 5))
	list := m.list()
	if len(list) != MembersMax || !hasMember(list, fmt.Sprint("n", MembersMax+5)) || hasMember(list, "n3") {
		t.Error("the member that is down didn't make room")
	}
	if got := len(m.takeChanged()); got != MembersMax {
		t.Errorf("%d to tell about", got)
	}
	if got := len(m.takeChanged()); got != 0 {
		t.Errorf("%d to tell about again", got)
	}
}

func hasMember(list []Member, id string) bool {
	for _, m := range list {
		if m.NodeID == id {
			return true
		}
	}
	return false
}
