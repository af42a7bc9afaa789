// Package hclogslog lets libraries that log through hclog, such as
// hashicorp/raft, log to a *slog.Logger. Levels are kept: what is Info there is
// Info here, so the slog handler decides what is shown.
package hclogslog

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"slices"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// LevelTrace is the slog level of hclog's Trace.
const LevelTrace = slog.LevelDebug - 4

// nameKey is the attribute that holds the logger's name.
const nameKey = "logger"

type logger struct {
	base *slog.Logger // without name and implied arguments
	out  *slog.Logger // with them
	name string
	args []any
}

// New returns an hclog logger that writes to log. A name goes into the
// attribute "logger". SetLevel does nothing: levels are the business of log.
func New(log *slog.Logger) hclog.Logger { return build(log, "", nil) }

func build(base *slog.Logger, name string, args []any) *logger {
	out := base
	if name != "" {
		out = out.With(nameKey, name)
	}
	return &logger{base: base, out: out.With(attrs(args)...), name: name, args: args}
}

func (l *logger) Log(level hclog.Level, msg string, args ...any) {
	if level == hclog.Off {
		return
	}
	ctx := context.Background() // hclog has no contexts
	lvl := slogLevel(level)
	if l.out.Enabled(ctx, lvl) {
		l.out.Log(ctx, lvl, msg, attrs(args)...)
	}
}

func (l *logger) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }
func (l *logger) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l *logger) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l *logger) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l *logger) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l *logger) IsTrace() bool { return l.enabled(hclog.Trace) }
func (l *logger) IsDebug() bool { return l.enabled(hclog.Debug) }
func (l *logger) IsInfo() bool  { return l.enabled(hclog.Info) }
func (l *logger) IsWarn() bool  { return l.enabled(hclog.Warn) }
func (l *logger) IsError() bool { return l.enabled(hclog.Error) }

func (l *logger) enabled(level hclog.Level) bool {
	return l.out.Enabled(context.Background(), slogLevel(level))
}

func (l *logger) ImpliedArgs() []any { return slices.Clone(l.args) }

func (l *logger) With(args ...any) hclog.Logger {
	return build(l.base, l.name, append(slices.Clone(l.args), args...))
}

func (l *logger) Name() string { return l.name }

func (l *logger) Named(name string) hclog.Logger {
	if l.name != "" {
		name = l.name + "." + name
	}
	return build(l.base, name, l.args)
}

func (l *logger) ResetNamed(name string) hclog.Logger { return build(l.base, name, l.args) }

func (l *logger) SetLevel(hclog.Level) {}

// GetLevel returns the lowest level that the slog handler shows.
func (l *logger) GetLevel() hclog.Level {
	for _, level := range []hclog.Level{hclog.Trace, hclog.Debug, hclog.Info, hclog.Warn, hclog.Error} {
		if l.enabled(level) {
			return level
		}
	}
	return hclog.Off
}

func (l *logger) StandardLogger(opts *hclog.StandardLoggerOptions) *log.Logger {
	return log.New(l.StandardWriter(opts), "", 0)
}

// StandardWriter returns a writer whose lines are logged, at the forced level
// or at Info.
func (l *logger) StandardWriter(opts *hclog.StandardLoggerOptions) io.Writer {
	level := hclog.Info
	if opts != nil && opts.ForceLevel != hclog.NoLevel {
		level = opts.ForceLevel
	}
	return lineWriter{l, level}
}

type lineWriter struct {
	l     *logger
	level hclog.Level
}

func (w lineWriter) Write(p []byte) (int, error) {
	w.l.Log(w.level, strings.TrimRight(string(p), "\r\n"))
	return len(p), nil
}

func slogLevel(level hclog.Level) slog.Level {
	switch level {
	case hclog.Trace:
		return LevelTrace
	case hclog.Debug:
		return slog.LevelDebug
	case hclog.Warn:
		return slog.LevelWarn
	case hclog.Error:
		return slog.LevelError
	default:
		return slog.LevelInfo
	}
}

// attrs turns hclog's alternating keys and values into attributes. A last value
// without a key gets hclog's own key for it.
func attrs(args []any) []any {
	if len(args)%2 != 0 {
		args = slices.Insert(slices.Clone(args), len(args)-1, any(hclog.MissingKey))
	}
	out := make([]any, 0, len(args)/2)
	for i := 0; i < len(args); i += 2 {
		key, ok := args[i].(string)
		if !ok {
			key = fmt.Sprint(args[i])
		}
		out = append(out, slog.Any(key, value(args[i+1])))
	}
	return out
}

// value resolves hclog's formatting wrappers.
func value(v any) any {
	switch v := v.(type) {
	case hclog.Format:
		if len(v) == 0 {
			return ""
		}
		format, ok := v[0].(string)
		if !ok {
			return fmt.Sprint(v...)
		}
		return fmt.Sprintf(format, v[1:]...)
	case hclog.Hex:
		return fmt.Sprintf("%#x", int(v))
	case hclog.Octal:
		return fmt.Sprintf("%#o", int(v))
	case hclog.Binary:
		return fmt.Sprintf("%#b", int(v))
	case hclog.Quote:
		return string(v)
	default:
		return v
	}
}
