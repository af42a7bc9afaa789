package datastoretest

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/spire-raft/spire-raft/datastore"
	recordsv1 "github.com/spire-raft/spire-raft/proto/records/v1"
	"github.com/spire-raft/spire-raft/records"
)

var joinTokenTests = []conformanceTest{
	{"2.7 T12 CreateJoinToken needs a token and an expiry", createNoJoinToken},
	{"2.7 CreateJoinToken: a token is taken once", createJoinTokenTwice},
	{"2.7 T21 FetchJoinToken: whole seconds, Local", fetchJoinToken},
	{"2.7 DeleteJoinToken", deleteJoinToken},
	{"2.7 DeleteJoinToken: one of many succeeds", deleteJoinTokenParallel},
	{"2.7 7.2 PruneJoinTokens keeps the second of its time", pruneJoinTokens},
	{"2.7 PruneJoinTokens prunes any number", pruneManyJoinTokens},
	{"2.7 PruneJoinTokens keeps what changes meanwhile", pruneChangedJoinTokens},
	{"2.7 join tokens: no events, no logs", joinTokensAreSilent},
	{"2.0 join tokens: texts that are not UTF-8 are refused", joinTokenNotUTF8},
	{"2.0 join tokens: what does not decode fails without telling the token", damagedJoinToken},
	{"2.0 join tokens: closed DataStore", joinTokensClosed},
}

func (e *env) addToken(token string, expires time.Time) {
	e.Helper()
	e.succeeds(e.CreateJoinToken(e.ctx(), &datastore.JoinToken{Token: token, Expiry: expires}))
}

// hasToken reports a token that is not stored as want, or one where want is nil.
func (e *env) hasToken(token string, want *datastore.JoinToken) {
	e.Helper()
	for _, d := range e.all {
		got, err := d.FetchJoinToken(e.ctx(), token)
		e.succeeds(err)
		same(e, got, want, "token")
	}
}

func createNoJoinToken(e *env) {
	for _, token := range []*datastore.JoinToken{nil, {}, {Token: "t"}, {Expiry: expiry}} {
		e.failsPlainly(e.CreateJoinToken(e.ctx(), token), "token and expiry are required")
	}
	same(e, e.keyCount(), 0, "keys")
}

func createJoinTokenTwice(e *env) {
	e.addToken("t", expiry)
	for _, d := range e.all {
		err := d.CreateJoinToken(e.ctx(), &datastore.JoinToken{Token: "t", Expiry: expiry.Add(time.Hour)})
		e.failsWith(err, codes.AlreadyExists, "UNIQUE constraint failed: join_tokens.token")
	}
	e.hasToken("t", &datastore.JoinToken{Token: "t", Expiry: expiry})
}

func fetchJoinToken(e *env) {
	now := time.Now() // with a monotonic clock
	tests := []struct {
		token  string
		expiry time.Time
		want   time.Time
	}{
		{"now", now, time.Unix(now.Unix(), 0)},
		{"rounded down", time.Unix(5, 999_999_999), time.Unix(5, 0)},
		{"rounded down before 1970", time.Unix(-5, 1), time.Unix(-5, 0)},
		{"1970", time.Unix(0, 0), time.Unix(0, 0)},
		{"UTC", expiry.UTC(), expiry},
		{"another zone", expiry.In(time.FixedZone("x", 3600)), expiry},
	}
	for _, test := range tests {
		e.addToken(test.token, test.expiry)
		e.hasToken(test.token, &datastore.JoinToken{Token: test.token, Expiry: test.want.Local()})
	}
	for _, token := range []string{"", "utc", "no", notUTF8} {
		e.hasToken(token, nil)
	}
}

func deleteJoinToken(e *env) {
	e.isNotFound(e.DeleteJoinToken(e.ctx(), "a"))
	e.addToken("a", expiry)
	e.addToken("b", expiry)
	e.isNotFound(e.DeleteJoinToken(e.ctx(), "A"))
	e.succeeds(e.at(1).DeleteJoinToken(e.ctx(), "a"))
	e.hasToken("a", nil)
	e.hasToken("b", &datastore.JoinToken{Token: "b", Expiry: expiry})
	e.isNotFound(e.DeleteJoinToken(e.ctx(), "a"))
	e.addToken("a", expiry)
	e.hasToken("a", &datastore.JoinToken{Token: "a", Expiry: expiry})
}

func deleteJoinTokenParallel(e *env) {
	const n = 20
	e.addToken("t", expiry)
	errs := parallel(n, func(i int) error { return e.at(i).DeleteJoinToken(e.ctx(), "t") })
	for _, err := range errs {
		e.isNotFound(err)
	}
	same(e, len(errs), n-1, "failed deletes")
	same(e, e.keyCount(), 0, "keys")
}

func pruneJoinTokens(e *env) {
	second := time.Second
	tests := []struct {
		limit  time.Time
		pruned string
	}{
		{expiry.Add(-second), ""},
		{expiry, "before"},
		{expiry.Add(second - 1), "before"},
		{expiry.Add(second), "before at"},
		{expiry.Add(second + 1), "before at"},
		{expiry.Add(2 * second), "before at after"},
	}
	for i, test := range tests {
		tokens := map[string]time.Time{"before": expiry.Add(-second), "at": expiry, "after": expiry.Add(second)}
		for token, expires := range tokens {
			e.addToken(token, expires)
		}
		e.succeeds(e.at(i).PruneJoinTokens(e.ctx(), test.limit))
		for token := range tokens {
			got, err := e.FetchJoinToken(e.ctx(), token)
			e.succeeds(err)
			if pruned := strings.Contains(test.pruned, token); pruned != (got == nil) {
				e.Errorf("pruned before %v: %q is pruned: %v", test.limit, token, got == nil)
			}
			if got != nil {
				e.succeeds(e.DeleteJoinToken(e.ctx(), token))
			}
		}
	}
	same(e, e.keyCount(), 0, "keys")
}

func pruneManyJoinTokens(e *env) {
	tokens := make([]*recordsv1.JoinToken, 2500)
	for i := range tokens {
		tokens[i] = &recordsv1.JoinToken{Token: fmt.Sprint(i), Expiry: expiry.Unix()}
	}
	plant(e, records.JoinTokens, tokens...)
	e.succeeds(e.PruneJoinTokens(e.ctx(), expiry.Add(time.Second)))
	same(e, e.keyCount(), 0, "keys")
}

func pruneChangedJoinTokens(e *env) {
	for _, token := range []string{"a", "b", "c"} {
		e.addToken(token, expiry)
	}
	d := e.between(func() {
		e.succeeds(e.DeleteJoinToken(e.ctx(), "a"))
		e.succeeds(e.DeleteJoinToken(e.ctx(), "b"))
		e.addToken("b", expiry.Add(time.Second))
	})
	e.succeeds(d.PruneJoinTokens(e.ctx(), expiry.Add(time.Second)))
	e.hasToken("a", nil)
	e.hasToken("b", &datastore.JoinToken{Token: "b", Expiry: expiry.Add(time.Second)})
	e.hasToken("c", nil)
}

func joinTokensAreSilent(e *env) {
	d, logs := e.logging()
	e.succeeds(d.CreateJoinToken(e.ctx(), &datastore.JoinToken{Token: "a", Expiry: expiry}))
	e.succeeds(d.CreateJoinToken(e.ctx(), &datastore.JoinToken{Token: "b", Expiry: expiry}))
	e.succeeds(d.DeleteJoinToken(e.ctx(), "a"))
	e.succeeds(d.PruneJoinTokens(e.ctx(), expiry.Add(time.Hour)))
	same(e, logs.take(), nil, "log")
	e.sameEvents(e.nodeEvents())
	e.sameEvents(e.entryEvents())
}

func joinTokenNotUTF8(e *env) {
	e.isInvalidText(e.CreateJoinToken(e.ctx(), &datastore.JoinToken{Token: notUTF8, Expiry: expiry}))
	e.isNotFound(e.DeleteJoinToken(e.ctx(), notUTF8))
	same(e, e.keyCount(), 0, "keys")
}

func damagedJoinToken(e *env) {
	e.addToken("s3cret", expiry)
	e.addToken("good", expiry)
	damage(e, records.JoinTokens, "s3cret")
	_, err := e.FetchJoinToken(e.ctx(), "s3cret")
	e.failsWith(err, codes.Unknown, `"join-token"`)
	if strings.Contains(err.Error(), "s3cret") {
		e.Errorf("error %q tells the token", err)
	}
	d, logs := e.logging()
	e.succeeds(d.DeleteJoinToken(e.ctx(), "s3cret"))
	if lines := logs.take(); len(lines) != 1 || strings.Contains(lines[0], "s3cret") {
		e.Errorf("deletion logged %q, want a line without the token", lines)
	}
	e.isNotFound(d.DeleteJoinToken(e.ctx(), "s3cret"))
	same(e, e.keyCount(), 3, "keys")
	e.hasToken("good", &datastore.JoinToken{Token: "good", Expiry: expiry})
}

func joinTokensClosed(e *env) {
	e.succeeds(e.Close())
	e.failsPlainly(e.CreateJoinToken(e.ctx(), nil), "token and expiry are required")
	e.isClosed(e.CreateJoinToken(e.ctx(), &datastore.JoinToken{Token: "t", Expiry: expiry}))
	_, err := e.FetchJoinToken(e.ctx(), "t")
	e.isClosed(err)
	e.isClosed(e.DeleteJoinToken(e.ctx(), "t"))
	e.isClosed(e.PruneJoinTokens(e.ctx(), expiry))
}
