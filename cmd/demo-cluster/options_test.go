package main

import (
	"errors"
	"flag"
	"strings"
	"testing"
	"time"
)

func TestParseOptions_Defaults(t *testing.T) {
	for _, test := range []struct {
		args     []string
		scenario string
		duration time.Duration
	}{
		{nil, "story", 0},
		{[]string{"--scenario", "chaos"}, "chaos", time.Minute},
		{[]string{"-scenario=chaos", "-duration=10s"}, "chaos", 10 * time.Second},
		{[]string{"--scenario=serve", "--nodes=1"}, "serve", 0},
		{[]string{"--nodes=4"}, "story", 0},
	} {
		var stderr strings.Builder
		o, err := parseOptions(test.args, &stderr)
		if err != nil || o.scenario.Name != test.scenario || o.duration != test.duration {
			t.Errorf("%q: %s for %v, %v", test.args, o.scenario.Name, o.duration, err)
		}
		if stderr.Len() > 0 {
			t.Errorf("%q: said %q", test.args, stderr.String())
		}
	}
}

func TestParseOptions_NamesWhatIsWrong(t *testing.T) {
	for _, test := range []struct {
		args []string
		want []string
	}{
		{[]string{"--colour"}, []string{"not defined: -colour", "-scenario"}},
		{[]string{"--nodes", "three"}, []string{"invalid value"}},
		{[]string{"--seed", "-1"}, []string{"invalid value"}},
		{[]string{"story"}, []string{`unexpected argument "story"`}},
		{[]string{"--scenario", "peace"}, []string{`unknown scenario "peace"`, "story, chaos, serve"}},
		{[]string{"--nodes", "2"}, []string{"scenario story needs at least 3"}},
		{[]string{"--nodes", "2", "--scenario", "chaos"}, []string{"scenario chaos needs at least 3"}},
		{[]string{"--nodes", "0", "--scenario", "serve"}, []string{"scenario serve needs at least 1"}},
		{[]string{"--nodes", "100"}, []string{"the limit is 9"}},
		{[]string{"--clients", "0"}, []string{"--clients 0"}},
		{[]string{"--scenario", "chaos", "--duration", "0s"}, []string{"--duration 0s"}},
		{[]string{"--scenario", "chaos", "--duration", "-1s", "--clients", "-3"}, []string{"--duration -1s", "--clients -3"}},
	} {
		var stderr strings.Builder
		if _, err := parseOptions(test.args, &stderr); err == nil {
			t.Errorf("%q was accepted", test.args)
		}
		for _, want := range test.want {
			if !strings.Contains(stderr.String(), want) {
				t.Errorf("%q: said %q, want %q", test.args, stderr.String(), want)
			}
		}
	}
}

func TestParseOptions_HelpHasEveryFlagWithItsDefault(t *testing.T) {
	var stderr strings.Builder
	if _, err := parseOptions([]string{"-h"}, &stderr); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("error %v", err)
	}
	for _, want := range []string{
		"-nodes", "(default 3)", "-scenario", `(default "story")`, "-duration", "-clients", "(default 12)",
		"-seed", "(default 1)", "-entries", "-dir", "-keep", "-json", "-plain",
	} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("help does not say %q", want)
		}
	}
}
