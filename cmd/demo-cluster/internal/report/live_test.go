package report

import (
	"os"
	"strings"
	"testing"
)

// screen is a terminal that understands what live sends. Its lines are those
// written so far, the cursor is always behind the last one.
type screen struct {
	t      *testing.T
	lines  []string
	hidden bool
}

func (s *screen) Write(p []byte) (int, error) {
	rest := string(p)
	for rest != "" {
		switch {
		case strings.HasPrefix(rest, hideCursor):
			s.hidden, rest = true, rest[len(hideCursor):]
		case strings.HasPrefix(rest, showCursor):
			s.hidden, rest = false, rest[len(showCursor):]
		case strings.HasPrefix(rest, "\x1b["):
			up, tail, ok := strings.Cut(rest[2:], "A\r"+clearBelow)
			n := 0
			for _, c := range up {
				n = 10*n + int(c-'0')
			}
			if !ok || n > len(s.lines) {
				s.t.Fatalf("sequence %q with %d lines on the screen", rest, len(s.lines))
			}
			s.lines, rest = s.lines[:len(s.lines)-n], tail
		default:
			line, tail, ok := strings.Cut(rest, "\n")
			if !ok {
				s.t.Fatalf("line %q does not end", rest)
			}
			s.lines, rest = append(s.lines, line), tail
		}
	}
	return len(p), nil
}

func TestLive_KeepsTheTableBelowTheLines(t *testing.T) {
	s := &screen{t: t}
	l := newLive(s, func() int { return 40 })
	l.Printf("step %d", 1)
	l.Servers([]Row{{Server: "n1", State: "running", Role: "leader", Known: true}, {Server: "n2", State: "down"}})
	if !s.hidden {
		t.Error("the cursor shows while the table does")
	}
	l.Printf("step 2\nin two lines")
	l.Servers([]Row{{Server: "n1", State: "down"}, {Server: "n2", State: "running", Role: "follower", Known: true}})
	want := []string{"step 1", "step 2", "in two lines", "", "  node  role", "  n1    -", "  n2    follower"}
	if len(s.lines) != len(want) {
		t.Fatalf("screen %q, want %q", s.lines, want)
	}
	for i := range want {
		if !strings.HasPrefix(s.lines[i], want[i]) || len(s.lines[i]) > 39 {
			t.Errorf("line %d is %q, want %q, within 39 columns", i, s.lines[i], want[i])
		}
	}

	l.Close()
	l.Close()
	l.Servers([]Row{{Server: "n1"}})
	l.Printf("the end")
	if got := strings.Join(s.lines, "|"); got != "step 1|step 2|in two lines|the end" || s.hidden {
		t.Errorf("after the end the screen is %q, cursor hidden %v", got, s.hidden)
	}
}

func TestNewLive_RefusesWhatIsNoTerminal(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := NewLive(f); err == nil {
		t.Error("a file was taken for a terminal")
	}
}
