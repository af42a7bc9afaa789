package hclogslog_test

import (
	"bytes"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/spire-raft/spire-raft/raftstore/internal/hclogslog"
)

func newLogger(min slog.Level) (hclog.Logger, *bytes.Buffer) {
	var out bytes.Buffer
	h := slog.NewTextHandler(&out, &slog.HandlerOptions{Level: min, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	return hclogslog.New(slog.New(h)), &out
}

func TestLogger_Lines(t *testing.T) {
	for _, tc := range []struct {
		name string
		log  func(l hclog.Logger)
		want string
	}{
		{"trace", func(l hclog.Logger) { l.Trace("m") }, "level=DEBUG-4 msg=m"},
		{"debug", func(l hclog.Logger) { l.Debug("m", "k", 1) }, "level=DEBUG msg=m k=1"},
		{"info", func(l hclog.Logger) { l.Info("m", "k", "v", "n", 2) }, "level=INFO msg=m k=v n=2"},
		{"warn", func(l hclog.Logger) { l.Warn("m") }, "level=WARN msg=m"},
		{"error", func(l hclog.Logger) { l.Error("m") }, "level=ERROR msg=m"},
		{"no level is info", func(l hclog.Logger) { l.Log(hclog.NoLevel, "m") }, "level=INFO msg=m"},
		{"off", func(l hclog.Logger) { l.Log(hclog.Off, "m") }, ""},
		{"named", func(l hclog.Logger) { l.Named("raft").Named("snap").Info("m") }, "level=INFO msg=m logger=raft.snap"},
		{"renamed", func(l hclog.Logger) { l.Named("raft").ResetNamed("x").Info("m") }, "level=INFO msg=m logger=x"},
		{"with", func(l hclog.Logger) { l.With("a", 1).Named("raft").With("b", 2).Info("m", "c", 3) }, "level=INFO msg=m logger=raft a=1 b=2 c=3"},
		{"missing key", func(l hclog.Logger) { l.Info("m", "a", 1, "lonely") }, "level=INFO msg=m a=1 EXTRA_VALUE_AT_END=lonely"},
		{"key that is no string", func(l hclog.Logger) { l.Info("m", 7, "v") }, "level=INFO msg=m 7=v"},
		{"formatted value", func(l hclog.Logger) { l.Info("m", "k", hclog.Fmt("%d+%d", 1, 2)) }, "level=INFO msg=m k=1+2"},
		{"empty format", func(l hclog.Logger) { l.Info("m", "k", hclog.Format{}) }, `level=INFO msg=m k=""`},
		{"format that is none", func(l hclog.Logger) { l.Info("m", "k", hclog.Format{1, 2}) }, `level=INFO msg=m k="1 2"`},
		{"numbers", func(l hclog.Logger) { l.Info("m", "h", hclog.Hex(31), "o", hclog.Octal(8), "b", hclog.Binary(5)) }, "level=INFO msg=m h=0x1f o=010 b=0b101"},
		{"quoted", func(l hclog.Logger) { l.Info("m", "q", hclog.Quote("a\nb")) }, `level=INFO msg=m q="a\nb"`},
		{"standard logger", func(l hclog.Logger) { l.StandardLogger(nil).Println("m") }, "level=INFO msg=m"},
		{"forced level", func(l hclog.Logger) {
			l.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Warn}).Print("m")
		}, "level=WARN msg=m"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l, out := newLogger(hclogslog.LevelTrace)
			tc.log(l)
			if got := strings.TrimSpace(out.String()); got != tc.want {
				t.Errorf("logged %q, want %q", got, tc.want)
			}
		})
	}
}

func TestLogger_LevelsAreThoseOfSlog(t *testing.T) {
	for level, want := range map[slog.Level][]bool{
		hclogslog.LevelTrace: {true, true, true, true, true},
		slog.LevelDebug:      {false, true, true, true, true},
		slog.LevelInfo:       {false, false, true, true, true},
		slog.LevelWarn:       {false, false, false, true, true},
		slog.LevelError:      {false, false, false, false, true},
		slog.LevelError + 1:  {false, false, false, false, false},
	} {
		l, out := newLogger(level)
		l.SetLevel(hclog.Trace) // has no effect
		got := []bool{l.IsTrace(), l.IsDebug(), l.IsInfo(), l.IsWarn(), l.IsError()}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%v: enabled %v, want %v", level, got, want)
		}
		l.Trace("m")
		l.Debug("m")
		l.Info("m")
		l.Warn("m")
		l.Error("m")
		lines, shown, lowest := strings.Count(out.String(), "\n"), 0, hclog.Off
		for i, on := range want {
			if on {
				shown++
				lowest = min(lowest, hclog.Trace+hclog.Level(i))
			}
		}
		if lines != shown || l.GetLevel() != lowest {
			t.Errorf("%v: %d lines, level %v, want %d, %v", level, lines, l.GetLevel(), shown, lowest)
		}
	}
}

func TestLogger_With(t *testing.T) {
	l, _ := newLogger(slog.LevelInfo)
	base := l.With("a", 1)
	x, y := base.With("b", 2), base.With("c", 3)
	if got := x.ImpliedArgs(); !reflect.DeepEqual(got, []any{"a", 1, "b", 2}) {
		t.Errorf("x has %v", got)
	}
	if got := y.ImpliedArgs(); !reflect.DeepEqual(got, []any{"a", 1, "c", 3}) {
		t.Errorf("y has %v", got)
	}
	if got := y.Named("raft").Name(); got != "raft" {
		t.Errorf("name %q", got)
	}
}
