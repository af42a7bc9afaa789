package datastoretest

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"

	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
)

var pruneBundleTests = []conformanceTest{
	{"2.1.8 PruneBundle without a bundle changes nothing", pruneNoBundle},
	{"2.1.8 PruneBundle needs a time", pruneBundleZeroTime},
	{"2.1.8 7.2 PruneBundle drops what expires at or before the time", pruneBundle},
	{"2.1.8 PruneBundle that would drop too much changes nothing", pruneBundleHalts},
	{"2.1.8 PruneBundle names a bundle that does not decode", pruneDamagedBundle},
	{"2.1.8 PruneBundle logs what it drops", pruneBundleLogs},
}

func pruneNoBundle(e *env) {
	for _, limit := range []time.Time{e.clock.Now(), {}} {
		changed, err := e.PruneBundle(e.ctx(), authoritiesOf, limit)
		if changed || err != nil {
			e.Errorf("got %v, %v", changed, err)
		}
	}
}

func pruneBundleZeroTime(e *env) {
	e.setAuthorities(&spirev1.Bundle{})
	changed, err := e.PruneBundle(e.ctx(), authoritiesOf, time.Time{})
	e.failsAs(err, codes.Unknown, "prune failed: expiration time is zero value")
	same(e, changed, false, "changed")
}

func pruneBundle(e *env) {
	now := e.clock.Now()
	at := func(d time.Duration) []byte { return e.newCertificate(1, "id", now.Add(d)) }
	past, equal, future, far := at(-time.Second), at(0), at(time.Second), at(time.Hour)
	key := func(d time.Duration) *spirev1.PublicKey {
		return &spirev1.PublicKey{Kid: d.String(), NotAfter: now.Add(d).Unix()}
	}
	keep := []*spirev1.Certificate{{DerBytes: far, TaintedKey: true}}
	tests := []struct {
		name        string
		given, want spirev1.Bundle
		limit       time.Time
		changed     bool
	}{
		{
			name:  "nothing expires",
			given: spirev1.Bundle{RootCas: keep, JwtSigningKeys: []*spirev1.PublicKey{key(time.Second)}, WitSigningKeys: []*spirev1.PublicKey{key(time.Second)}},
			want:  spirev1.Bundle{RootCas: keep, JwtSigningKeys: []*spirev1.PublicKey{key(time.Second)}, WitSigningKeys: []*spirev1.PublicKey{key(time.Second)}},
			limit: now,
		},
		{
			name: "certificates, equal ones too",
			given: spirev1.Bundle{RootCas: []*spirev1.Certificate{
				{DerBytes: past}, keep[0], {DerBytes: equal}, {DerBytes: future}, {DerBytes: past},
			}},
			want:  spirev1.Bundle{RootCas: []*spirev1.Certificate{keep[0], {DerBytes: future}}},
			limit: now, changed: true,
		},
		{
			name:  "a nanosecond before the second keeps",
			given: spirev1.Bundle{RootCas: []*spirev1.Certificate{{DerBytes: future}}, JwtSigningKeys: []*spirev1.PublicKey{key(time.Second)}},
			want:  spirev1.Bundle{RootCas: []*spirev1.Certificate{{DerBytes: future}}, JwtSigningKeys: []*spirev1.PublicKey{key(time.Second)}},
			limit: now.Add(time.Second - 1),
		},
		{
			name: "any certificate of several",
			given: spirev1.Bundle{RootCas: []*spirev1.Certificate{
				{DerBytes: slices.Concat(far, past)}, {DerBytes: slices.Concat(far, future)},
			}},
			want:  spirev1.Bundle{RootCas: []*spirev1.Certificate{{DerBytes: slices.Concat(far, future)}}},
			limit: now, changed: true,
		},
		{
			name: "T7 keys, equal ones and those without an expiry too",
			given: spirev1.Bundle{
				RootCas:        keep,
				JwtSigningKeys: []*spirev1.PublicKey{key(-time.Second), key(0), {Kid: "never"}, key(time.Second)},
				WitSigningKeys: []*spirev1.PublicKey{key(time.Second), {Kid: "never"}, key(0)},
			},
			want: spirev1.Bundle{
				RootCas: keep, JwtSigningKeys: []*spirev1.PublicKey{key(time.Second)}, WitSigningKeys: []*spirev1.PublicKey{key(time.Second)},
			},
			limit: now, changed: true,
		},
		{
			name:  "only WIT keys",
			given: spirev1.Bundle{RootCas: keep, WitSigningKeys: []*spirev1.PublicKey{key(0), key(time.Second)}},
			want:  spirev1.Bundle{RootCas: keep, WitSigningKeys: []*spirev1.PublicKey{key(time.Second)}},
			limit: now, changed: true,
		},
	}
	for i := range tests {
		test := &tests[i]
		e.Log(test.name)
		for _, b := range []*spirev1.Bundle{&test.given, &test.want} {
			b.TrustDomainId = fmt.Sprint("spiffe://", i)
			b.SequenceNumber, b.RefreshHint = 42, 60
		}
		if test.changed {
			test.want.SequenceNumber, test.want.RefreshHint = 43, 0
		}
		_, err := e.CreateBundle(e.ctx(), &test.given)
		e.succeeds(err)
		changed, err := e.at(i).PruneBundle(e.ctx(), test.given.TrustDomainId, test.limit)
		e.succeeds(err)
		same(e, changed, test.changed, "changed")
		e.hasBundle(&test.want)
	}
}

func pruneBundleHalts(e *env) {
	now := e.clock.Now()
	expired := &spirev1.Certificate{DerBytes: e.newCertificate(1, "id", now)}
	valid := &spirev1.Certificate{DerBytes: e.newCertificate(1, "id", now.Add(time.Hour))}
	old := []*spirev1.PublicKey{{Kid: "old", NotAfter: now.Unix()}}
	tests := []struct {
		text       string
		cas        []*spirev1.Certificate
		jwts, wits []*spirev1.PublicKey
	}{
		{"would prune all certificates", []*spirev1.Certificate{expired, expired}, old, old},
		{"would prune all certificates", nil, nil, nil},
		{"would prune all JWT signing keys", []*spirev1.Certificate{expired, valid}, old, old},
		{"would prune all WIT signing keys", []*spirev1.Certificate{expired, valid}, nil, old},
		{"cannot parse certificates: " + malformedX509, []*spirev1.Certificate{valid, {DerBytes: []byte("x")}}, old, old},
	}
	for _, test := range tests {
		b := func() *spirev1.Bundle {
			return &spirev1.Bundle{RootCas: test.cas, JwtSigningKeys: test.jwts, WitSigningKeys: test.wits}
		}
		e.setAuthorities(b())
		changed, err := e.PruneBundle(e.ctx(), authoritiesOf, now)
		e.failsAs(err, codes.Unknown, "prune failed: "+test.text)
		same(e, changed, false, "changed")
		e.hasAuthorities(b(), 1)
	}
}

func pruneDamagedBundle(e *env) {
	e.setAuthorities(&spirev1.Bundle{})
	damage(e, records.Bundles, authoritiesOf)
	_, err := e.PruneBundle(e.ctx(), authoritiesOf, e.clock.Now())
	e.failsWith(err, codes.Unknown, "desc = unable to fetch current bundle: ", authoritiesOf)
}

func pruneBundleLogs(e *env) {
	now := e.clock.Now().UTC()
	d, logs := e.logging()
	expired := &spirev1.Certificate{DerBytes: e.newCertificate(77, "id", now)}
	valid := &spirev1.Certificate{DerBytes: e.newCertificate(1, "id", now.Add(time.Hour))}
	old := &spirev1.PublicKey{Kid: "old", NotAfter: now.Unix()}
	young := &spirev1.PublicKey{Kid: "young", NotAfter: now.Add(time.Hour).Unix()}
	prune := func(b *spirev1.Bundle, want ...string) {
		e.Helper()
		e.setAuthorities(b)
		_, _ = d.PruneBundle(e.ctx(), authoritiesOf, now) // its results are tested above
		same(e, logs.take(), want, "log")
	}
	dropped := fmt.Sprintf("INFO Pruning CA certificate due to expiration serial_num=77 expiration=%v", now)
	droppedJWT := fmt.Sprintf("INFO Pruning JWT signing key due to expiration kid=old expiration=%v", now)
	droppedWIT := fmt.Sprintf("INFO Pruning WIT signing key due to expiration kid=old expiration=%v", now)

	prune(&spirev1.Bundle{RootCas: []*spirev1.Certificate{valid}})
	prune(&spirev1.Bundle{
		RootCas:        []*spirev1.Certificate{expired, valid},
		JwtSigningKeys: []*spirev1.PublicKey{young, old},
		WitSigningKeys: []*spirev1.PublicKey{old, young},
	}, dropped, droppedJWT, droppedWIT)
	prune(&spirev1.Bundle{RootCas: []*spirev1.Certificate{expired}},
		dropped, "WARN Pruning halted; all known CA certificates have expired")
	prune(&spirev1.Bundle{RootCas: []*spirev1.Certificate{valid}, JwtSigningKeys: []*spirev1.PublicKey{old}},
		droppedJWT, "WARN Pruning halted; all known JWT signing keys have expired")
	prune(&spirev1.Bundle{RootCas: []*spirev1.Certificate{valid}, WitSigningKeys: []*spirev1.PublicKey{old}},
		droppedWIT, "WARN Pruning halted; all known WIT signing keys have expired")
}
