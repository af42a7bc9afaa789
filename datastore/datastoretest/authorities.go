package datastoretest

import (
	"context"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/spire-raft/spire-raft/datastore"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
)

var authorityTests = []conformanceTest{
	{"2.2 authorities: there must be a bundle", authoritiesNoBundle},
	{"2.2 authorities: a bundle that does not decode is Internal", authoritiesDamagedBundle},
	{"2.2.1 TaintX509CA", taintX509CA},
	{"2.2.1 TaintX509CA marks all matches", taintX509CAMany},
	{"2.2.2 RevokeX509CA", revokeX509CA},
	{"2.2.2 RevokeX509CA may leave no root CA", revokeLastX509CA},
	{"2.2.3 TaintJWTKey", taintJWTKey},
	{"2.2.4 RevokeJWTKey", revokeJWTKey},
	{"2.2 T40 parallel taints all count", taintParallel},
	{"2.2 4.2 authorities: no events, no logs", authoritiesAreSilent},
}

// authoritiesOf is the trust domain of the bundles below.
const authoritiesOf = "spiffe://td"

// authorityMethods are the four methods without their results.
func authorityMethods(d *datastore.DataStore) map[string]func(ctx context.Context, td, id string) error {
	return map[string]func(ctx context.Context, td, id string) error{
		"TaintX509CA":  d.TaintX509CA,
		"RevokeX509CA": d.RevokeX509CA,
		"TaintJWTKey": func(ctx context.Context, td, id string) error {
			_, err := d.TaintJWTKey(ctx, td, id)
			return err
		},
		"RevokeJWTKey": func(ctx context.Context, td, id string) error {
			_, err := d.RevokeJWTKey(ctx, td, id)
			return err
		},
	}
}

// setAuthorities stores a bundle with authorities and the sequence number 1.
func (e *env) setAuthorities(b *spirev1.Bundle) {
	e.Helper()
	b.TrustDomainId, b.SequenceNumber, b.RefreshHint = authoritiesOf, 1, 60
	_, err := e.SetBundle(e.ctx(), b)
	e.succeeds(err)
}

// hasAuthorities reports a bundle that is not stored with the authorities of b,
// the sequence number n and its refresh hint.
func (e *env) hasAuthorities(b *spirev1.Bundle, n uint64) {
	e.Helper()
	b.TrustDomainId, b.SequenceNumber, b.RefreshHint = authoritiesOf, n, 60
	e.hasBundle(b)
}

func authoritiesNoBundle(e *env) {
	for _, call := range authorityMethods(e.DataStore) {
		e.isNotFound(call(e.ctx(), authoritiesOf, "id"))
	}
}

func authoritiesDamagedBundle(e *env) {
	e.setAuthorities(&spirev1.Bundle{})
	damage(e, records.Bundles, authoritiesOf)
	for _, call := range authorityMethods(e.DataStore) {
		e.failsWith(call(e.ctx(), authoritiesOf, "id"), codes.Internal, "desc = failed to unmarshal bundle: ", authoritiesOf)
	}
}

func taintX509CA(e *env) {
	later := e.clock.Now().Add(time.Hour)
	one, two := e.newCertificate(1, "one", later), e.newCertificate(2, "two\xfe", later)
	both := append(append([]byte(nil), one...), two...)
	tests := []struct {
		name string
		cas  []*spirev1.Certificate
		id   string
		code codes.Code
		text string
	}{
		{"unparsable", []*spirev1.Certificate{{DerBytes: []byte("x")}}, hexID("one"), codes.Internal, "failed to parse rootCA: " + malformedX509},
		{"unparsable after the match", []*spirev1.Certificate{{DerBytes: one}, {DerBytes: []byte("x")}}, hexID("one"),
			codes.Internal, "failed to parse rootCA: " + malformedX509},
		{"several certificates", []*spirev1.Certificate{{DerBytes: both}}, hexID("one"), codes.Internal, "failed to parse rootCA: x509: trailing data"},
		{"already tainted", []*spirev1.Certificate{{DerBytes: one, TaintedKey: true}, {DerBytes: []byte("x")}}, hexID("one"),
			codes.InvalidArgument, "root CA is already tainted"},
		{"no match", []*spirev1.Certificate{{DerBytes: one}, {DerBytes: two}}, hexID("three"),
			codes.NotFound, "no ca found with provided subject key ID"},
		{"T32 upper case", []*spirev1.Certificate{{DerBytes: two}}, strings.ToUpper(hexID("two\xfe")),
			codes.NotFound, "no ca found with provided subject key ID"},
		{"no root CAs", nil, hexID("one"), codes.NotFound, "no ca found with provided subject key ID"},
	}
	for _, test := range tests {
		e.Log(test.name)
		e.setAuthorities(&spirev1.Bundle{RootCas: test.cas})
		e.failsAs(e.TaintX509CA(e.ctx(), authoritiesOf, test.id), test.code, test.text)
		e.hasAuthorities(&spirev1.Bundle{RootCas: test.cas}, 1)
	}

	keys := []*spirev1.PublicKey{{Kid: hexID("two\xfe")}}
	e.setAuthorities(&spirev1.Bundle{
		RootCas: []*spirev1.Certificate{{DerBytes: one}, {DerBytes: two}}, JwtSigningKeys: keys, WitSigningKeys: keys,
	})
	e.succeeds(e.at(1).TaintX509CA(e.ctx(), authoritiesOf, hexID("two\xfe")))
	e.hasAuthorities(&spirev1.Bundle{
		RootCas: []*spirev1.Certificate{{DerBytes: one}, {DerBytes: two, TaintedKey: true}}, JwtSigningKeys: keys, WitSigningKeys: keys,
	}, 2)
	e.failsAs(e.TaintX509CA(e.ctx(), authoritiesOf, hexID("two\xfe")), codes.InvalidArgument, "root CA is already tainted")
}

func taintX509CAMany(e *env) {
	later := e.clock.Now().Add(time.Hour)
	one, other := e.newCertificate(1, "one", later), e.newCertificate(2, "one", later)
	e.setAuthorities(&spirev1.Bundle{RootCas: []*spirev1.Certificate{{DerBytes: one}, {DerBytes: other}}})
	e.succeeds(e.TaintX509CA(e.ctx(), authoritiesOf, hexID("one")))
	e.hasAuthorities(&spirev1.Bundle{RootCas: []*spirev1.Certificate{
		{DerBytes: one, TaintedKey: true}, {DerBytes: other, TaintedKey: true},
	}}, 2)
}

func revokeX509CA(e *env) {
	later := e.clock.Now().Add(time.Hour)
	one, two := e.newCertificate(1, "one", later), e.newCertificate(2, "two\xfe", later)
	tests := []struct {
		name string
		cas  []*spirev1.Certificate
		id   string
		code codes.Code
		text string
	}{
		{"T41 unparsable, spelled otherwise", []*spirev1.Certificate{{DerBytes: []byte("x")}}, hexID("one"),
			codes.Internal, "failed to parse root CA: " + malformedX509},
		{"unparsable after the match", []*spirev1.Certificate{{DerBytes: one, TaintedKey: true}, {DerBytes: []byte("x")}}, hexID("one"),
			codes.Internal, "failed to parse root CA: " + malformedX509},
		{"untainted", []*spirev1.Certificate{{DerBytes: one}, {DerBytes: two, TaintedKey: true}}, hexID("one"),
			codes.InvalidArgument, "it is not possible to revoke an untainted root CA"},
		{"T23 an untainted copy", []*spirev1.Certificate{{DerBytes: one, TaintedKey: true}, {DerBytes: one}}, hexID("one"),
			codes.InvalidArgument, "it is not possible to revoke an untainted root CA"},
		{"no match", []*spirev1.Certificate{{DerBytes: one, TaintedKey: true}}, hexID("three"),
			codes.NotFound, "no root CA found with provided subject key ID"},
		{"T32 upper case", []*spirev1.Certificate{{DerBytes: two, TaintedKey: true}}, strings.ToUpper(hexID("two\xfe")),
			codes.NotFound, "no root CA found with provided subject key ID"},
	}
	for _, test := range tests {
		e.Log(test.name)
		e.setAuthorities(&spirev1.Bundle{RootCas: test.cas})
		e.failsAs(e.RevokeX509CA(e.ctx(), authoritiesOf, test.id), test.code, test.text)
		e.hasAuthorities(&spirev1.Bundle{RootCas: test.cas}, 1)
	}

	e.setAuthorities(&spirev1.Bundle{RootCas: []*spirev1.Certificate{{DerBytes: one}, {DerBytes: two, TaintedKey: true}, {DerBytes: one}}})
	e.succeeds(e.at(1).RevokeX509CA(e.ctx(), authoritiesOf, hexID("two\xfe")))
	e.hasAuthorities(&spirev1.Bundle{RootCas: []*spirev1.Certificate{{DerBytes: one}, {DerBytes: one}}}, 2)
}

func revokeLastX509CA(e *env) {
	one := e.newCertificate(1, "one", e.clock.Now())
	e.setAuthorities(&spirev1.Bundle{RootCas: []*spirev1.Certificate{{DerBytes: one, TaintedKey: true}}})
	e.succeeds(e.RevokeX509CA(e.ctx(), authoritiesOf, hexID("one")))
	e.hasAuthorities(&spirev1.Bundle{}, 2)
}

func taintJWTKey(e *env) {
	tests := []struct {
		name string
		keys []*spirev1.PublicKey
		code codes.Code
		text string
	}{
		{"already tainted", []*spirev1.PublicKey{{Kid: "a", TaintedKey: true}, {Kid: "b"}}, codes.InvalidArgument, "key is already tainted"},
		{"two, the second already tainted", []*spirev1.PublicKey{{Kid: "a"}, {Kid: "a", TaintedKey: true}}, codes.InvalidArgument, "key is already tainted"},
		{"two", []*spirev1.PublicKey{{Kid: "a"}, {Kid: "b"}, {Kid: "a", NotAfter: 1}}, codes.Internal, "another JWT Key found with the same KeyID"},
		{"T32 none", []*spirev1.PublicKey{{Kid: "A"}, {Kid: "b"}}, codes.NotFound, "no JWT Key found with provided key ID"},
		{"no keys", nil, codes.NotFound, "no JWT Key found with provided key ID"},
	}
	wit := []*spirev1.PublicKey{{Kid: "a"}}
	for _, test := range tests {
		e.Log(test.name)
		e.setAuthorities(&spirev1.Bundle{JwtSigningKeys: test.keys, WitSigningKeys: wit})
		got, err := e.TaintJWTKey(e.ctx(), authoritiesOf, "a")
		e.failsAs(err, test.code, test.text)
		same(e, got, nil, "result")
		e.hasAuthorities(&spirev1.Bundle{JwtSigningKeys: test.keys, WitSigningKeys: wit}, 1)
	}

	e.setAuthorities(&spirev1.Bundle{
		JwtSigningKeys: []*spirev1.PublicKey{{Kid: "b"}, {Kid: "a", PkixBytes: []byte("k"), NotAfter: 1}}, WitSigningKeys: wit,
	})
	tainted := &spirev1.PublicKey{Kid: "a", PkixBytes: []byte("k"), NotAfter: 1, TaintedKey: true}
	got, err := e.at(1).TaintJWTKey(e.ctx(), authoritiesOf, "a")
	e.succeeds(err)
	same(e, got, tainted, "result")
	e.hasAuthorities(&spirev1.Bundle{JwtSigningKeys: []*spirev1.PublicKey{{Kid: "b"}, tainted}, WitSigningKeys: wit}, 2)
}

func revokeJWTKey(e *env) {
	tests := []struct {
		name string
		keys []*spirev1.PublicKey
		code codes.Code
		text string
	}{
		{"untainted", []*spirev1.PublicKey{{Kid: "a"}, {Kid: "a", TaintedKey: true}}, codes.InvalidArgument, "it is not possible to revoke an untainted key"},
		{"two", []*spirev1.PublicKey{{Kid: "a", TaintedKey: true}, {Kid: "a", TaintedKey: true}}, codes.Internal, "another key found with the same KeyID"},
		{"T23 an untainted copy", []*spirev1.PublicKey{{Kid: "a", TaintedKey: true}, {Kid: "a"}}, codes.Internal, "another key found with the same KeyID"},
		{"T32 none", []*spirev1.PublicKey{{Kid: "A", TaintedKey: true}}, codes.NotFound, "no JWT Key found with provided key ID"},
		{"no keys", nil, codes.NotFound, "no JWT Key found with provided key ID"},
	}
	wit := []*spirev1.PublicKey{{Kid: "a", TaintedKey: true}}
	for _, test := range tests {
		e.Log(test.name)
		e.setAuthorities(&spirev1.Bundle{JwtSigningKeys: test.keys, WitSigningKeys: wit})
		got, err := e.RevokeJWTKey(e.ctx(), authoritiesOf, "a")
		e.failsAs(err, test.code, test.text)
		same(e, got, nil, "result")
		e.hasAuthorities(&spirev1.Bundle{JwtSigningKeys: test.keys, WitSigningKeys: wit}, 1)
	}

	tainted := func() *spirev1.PublicKey {
		return &spirev1.PublicKey{Kid: "a", PkixBytes: []byte("k"), NotAfter: 1, TaintedKey: true}
	}
	e.setAuthorities(&spirev1.Bundle{JwtSigningKeys: []*spirev1.PublicKey{{Kid: "b"}, tainted()}, WitSigningKeys: wit})
	got, err := e.at(1).RevokeJWTKey(e.ctx(), authoritiesOf, "a")
	e.succeeds(err)
	same(e, got, tainted(), "result")
	e.hasAuthorities(&spirev1.Bundle{JwtSigningKeys: []*spirev1.PublicKey{{Kid: "b"}}, WitSigningKeys: wit}, 2)

	e.setAuthorities(&spirev1.Bundle{JwtSigningKeys: []*spirev1.PublicKey{tainted()}})
	_, err = e.RevokeJWTKey(e.ctx(), authoritiesOf, "a")
	e.succeeds(err)
	e.hasAuthorities(&spirev1.Bundle{}, 2)
}

func taintParallel(e *env) {
	const n = 10
	b := &spirev1.Bundle{}
	for i := range n {
		b.JwtSigningKeys = append(b.JwtSigningKeys, &spirev1.PublicKey{Kid: string(rune('a' + i))})
	}
	e.setAuthorities(b)
	errs := parallel(n, func(i int) error {
		_, err := e.at(i).TaintJWTKey(e.ctx(), authoritiesOf, string(rune('a'+i)))
		return err
	})
	same(e, errs, nil, "errors")
	want := &spirev1.Bundle{}
	for i := range n {
		want.JwtSigningKeys = append(want.JwtSigningKeys, &spirev1.PublicKey{Kid: string(rune('a' + i)), TaintedKey: true})
	}
	e.hasAuthorities(want, n+1)
}

func authoritiesAreSilent(e *env) {
	d, logs := e.logging()
	ca := e.newCertificate(1, "one", e.clock.Now())
	e.setAuthorities(&spirev1.Bundle{
		RootCas: []*spirev1.Certificate{{DerBytes: ca}}, JwtSigningKeys: []*spirev1.PublicKey{{Kid: "key"}},
	})
	methods := authorityMethods(d)
	for _, name := range []string{"TaintX509CA", "RevokeX509CA"} {
		e.succeeds(methods[name](e.ctx(), authoritiesOf, hexID("one")))
	}
	for _, name := range []string{"TaintJWTKey", "RevokeJWTKey"} {
		e.succeeds(methods[name](e.ctx(), authoritiesOf, "key"))
	}
	e.hasAuthorities(&spirev1.Bundle{}, 5)
	same(e, logs.take(), nil, "log")
	e.sameEvents(e.nodeEvents())
	e.sameEvents(e.entryEvents())
}
