package transport

import (
	"net"
	"testing"
)

func TestSourceOf(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"2001:db8::1", "2001:db8::ffff:2", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
	} {
		a := SourceOf(&net.TCPAddr{IP: net.ParseIP(tc.a), Port: 1})
		b := SourceOf(&net.TCPAddr{IP: net.ParseIP(tc.b), Port: 2})
		if (a == b) != tc.same {
			t.Errorf("%s and %s: sources %s and %s", tc.a, tc.b, a, b)
		}
	}
}
