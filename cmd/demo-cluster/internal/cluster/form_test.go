package cluster

import (
	"slices"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

func TestShortened_ShowsNoSecret(t *testing.T) {
	for token, want := range map[string]string{
		"v2/demo/AbCdEfGhIjKl/c2VjcmV0": "v2/demo/AbCdEfGh.../...",
		"v2/demo//c2VjcmV0":             "v2/demo/.../...",
		"c2VjcmV0":                      "(a token of unknown form)",
	} {
		if got := shortened(token); got != want || strings.Contains(got, "c2Vj") {
			t.Errorf("%s is shown as %s, want %s", token, got, want)
		}
	}
}

func TestSetup_OneFoundsAndTheOthersNeedTokens(t *testing.T) {
	ws, err := OpenWorkspace("", t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{Nodes: 3, Workspace: ws, TrustDomain: spiffeid.RequireTrustDomainFromString("a")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		if err := ws.Close(); err != nil {
			t.Error(err)
		}
	})
	first, second := c.Servers[0], c.Servers[1]
	first.founds = true
	if setup, err := c.setup(first); err != nil || !setup.Bootstrap || setup.JoinToken != "" {
		t.Errorf("the first: %+v, %v", setup, err)
	}
	if setup, err := c.setup(second); err == nil {
		t.Errorf("a server without a token is started with %+v", setup)
	}
	first.joined = true
	second.joinToken = "token"
	setup, err := c.setup(second)
	if err != nil || setup.Bootstrap || setup.JoinToken != "token" || len(setup.Join) != 1 || setup.Node != "n2" {
		t.Errorf("the second: %+v, %v", setup, err)
	}
	second.joined = true
	if setup, err := c.setup(second); err != nil || setup.JoinToken != "" {
		t.Errorf("a server that has joined: %+v, %v", setup, err)
	}

	before := setup.Dir
	if err := second.rename(c.nextName()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.setup(second); err == nil || second.Name() != "n4" {
		t.Errorf("%s, in the place of n2, is started without a token", second.Name())
	}
	second.joinToken = "another"
	if setup, err := c.setup(second); err != nil || setup.Node != "n4" || setup.Dir == before || setup.JoinToken != "another" {
		t.Errorf("in the place of n2: %+v, %v", setup, err)
	}
	if err := first.rename(c.nextName()); err != nil {
		t.Fatal(err)
	}
	if setup, err := c.setup(first); err == nil {
		t.Errorf("whoever takes the first place is started with %+v", setup)
	}
	if got, want := c.names(), []string{"n3", "n4", "n5"}; !slices.Equal(got, want) {
		t.Errorf("servers %q, want %q", got, want)
	}
}
