package entryfile_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/entryfile"
	"github.com/spire-raft/spire-raft/datastore"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/store/memstore"
	"github.com/spire-raft/spire-raft/testdata"
)

const good = `{"entry_id":"e1","spiffe_id":"spiffe://a/x","parent_id":"spiffe://a/p","selectors":[{"type":"unix","value":"uid:1"}]}`

func list(entries ...string) string {
	return `{"entries":[` + strings.Join(entries, ",") + `]}`
}

// other is good as another entry, with a part of it replaced.
func other(old, with string) string {
	e := strings.NewReplacer("e1", "e2", "spiffe://a/x", "spiffe://a/y").Replace(good)
	return strings.Replace(e, old, with, 1)
}

func TestParse_BuiltIn(t *testing.T) {
	f, err := entryfile.Parse("built-in", testdata.RegistrationEntries(), "")
	if err = errors.Join(err, f.Malformed()); err != nil {
		t.Fatal(err)
	}
	if len(f.Entries) < 200 || f.TrustDomain.IsZero() {
		t.Errorf("%d entries in %q, want a few hundred", len(f.Entries), f.TrustDomain)
	}
}

func TestParse_ReadsEveryField(t *testing.T) {
	const entry = `{"entry_id":"e1","spiffe_id":"spiffe://a/x","parent_id":"spiffe://a/p","hint":"db",
		"selectors":[{"type":"unix","value":"uid:1"},{"type":"k8s","value":"ns:x"}],
		"federates_with":["spiffe://b","c"],"x509_svid_ttl":60,"jwt_svid_ttl":30,"admin":true,"downstream":true,
		"entryExpiry":1900000000,"dns_names":["a.b","*.c"],"store_svid":false,"revision_number":7,"created_at":8,
		"additional_attributes":{"disable_x509_svid_prefetch":true,"jwt_svid_include_jti":true}}`
	f, err := entryfile.Parse("f", []byte(list(entry)), "")
	if err = errors.Join(err, f.Malformed()); err != nil {
		t.Fatal(err)
	}
	want := &spirev1.RegistrationEntry{
		EntryId: "e1", SpiffeId: "spiffe://a/x", ParentId: "spiffe://a/p", Hint: "db",
		Selectors:     []*spirev1.Selector{{Type: "unix", Value: "uid:1"}, {Type: "k8s", Value: "ns:x"}},
		FederatesWith: []string{"spiffe://b", "spiffe://c"}, X509SvidTtl: 60, JwtSvidTtl: 30, Admin: true, Downstream: true,
		EntryExpiry: 1900000000, DnsNames: []string{"a.b", "*.c"},
		AdditionalAttributes: &spirev1.RegistrationEntry_AdditionalAttributes{DisableX509SvidPrefetch: true, JwtSvidIncludeJti: true},
	}
	if len(f.Entries) != 1 || !proto.Equal(f.Entries[0], want) {
		t.Errorf("read %v, want %v", f.Entries, want)
	}
}

// TestParse_TakesWhatSPIREPrints reads an entry as "spire-server entry show
// -output json" prints it, in a file that begins with a byte order mark.
func TestParse_TakesWhatSPIREPrints(t *testing.T) {
	const printed = "\ufeff" + `{"entries":[{"id":"e1","spiffe_id":{"trust_domain":"a","path":"/x"},"parent_id":{"trust_domain":"a","path":"/p"},
		"selectors":[{"type":"unix","value":"uid:1"}],"x509_svid_ttl":0,"jwt_svid_ttl":5,"federates_with":["b"],"admin":false,"downstream":false,
		"expires_at":"1900000000","dns_names":[],"revision_number":"3","store_svid":false,"hint":"","created_at":"1780000000"}],"next_page_token":""}`
	f, err := entryfile.Parse("f", []byte(printed), "")
	if err = errors.Join(err, f.Malformed()); err != nil {
		t.Fatal(err)
	}
	want := &spirev1.RegistrationEntry{
		EntryId: "e1", SpiffeId: "spiffe://a/x", ParentId: "spiffe://a/p", Selectors: []*spirev1.Selector{{Type: "unix", Value: "uid:1"}},
		FederatesWith: []string{"spiffe://b"}, JwtSvidTtl: 5, EntryExpiry: 1900000000,
	}
	if len(f.Entries) != 1 || !proto.Equal(f.Entries[0], want) {
		t.Errorf("read %v, want %v", f.Entries, want)
	}
}

// TestParse_OneBadIDIsOneProblem: where no entry has a trust domain, none can
// have another one.
func TestParse_OneBadIDIsOneProblem(t *testing.T) {
	f, err := entryfile.Parse("f", []byte(list(strings.Replace(good, "spiffe://a/x", "spiffe://a/x/", 1))), "")
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Problems) != 1 || f.Problems[0].Field != "spiffe_id" {
		t.Errorf("problems %v, want one, of the spiffe_id", f.Malformed())
	}
}

func TestParse_AnEntryWithoutIDGetsOne(t *testing.T) {
	f, err := entryfile.Parse("f", []byte(list(other(`"entry_id":"e2",`, ""), good)), "")
	if err = errors.Join(err, f.Malformed()); err != nil {
		t.Fatal(err)
	}
	if f.Entries[0].EntryId == "" || f.Entries[0].EntryId == f.Entries[1].EntryId {
		t.Errorf("ids %q and %q", f.Entries[0].EntryId, f.Entries[1].EntryId)
	}
}

func TestParse_SaysWhyAFileCannotBeRead(t *testing.T) {
	for _, test := range []struct {
		name, data string
		want       []string
	}{
		{"nothing", "", []string{"unexpected end"}},
		{"broken JSON", "{\n\"entries\": [\n}", []string{"line 3", "invalid character"}},
		{"a list", "\n [" + good + "]", []string{`it is a list; write {"entries": [...]} around it`}},
		{"UTF-16", "\xff\xfe{\x00}\x00", []string{"it is in UTF-16; save it in UTF-8"}},
		{"no entries", "{}", []string{`"entries" has 0 elements`}},
		{"entries that are no list", `{"entries":{}}`, []string{"line 1", "entries"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := entryfile.Parse("my.json", []byte(test.data), "")
			demand(t, err, append(test.want, "my.json"))
		})
	}
}

func TestParse_NamesTheEntryAndTheFieldThatIsWrong(t *testing.T) {
	for _, test := range []struct{ name, entry, want string }{
		{"an entry that is a string", `"x"`, "entry 2: is a string, must be an object"},
		{"an entry that is null", `null`, "entry 2: is null, must be an object"},
		{"no spiffe_id", other(`"spiffe_id":"spiffe://a/y",`, ""), "entry 2: spiffe_id: is missing"},
		{"no parent_id", other(`"parent_id":"spiffe://a/p",`, ""), "entry 2: parent_id: is missing"},
		{"a spiffe_id of another scheme", other("spiffe://a/y", "http://a/x"), `entry 2: spiffe_id: "http://a/x" is not a SPIFFE ID: scheme`},
		{"a spiffe_id without a path", other("spiffe://a/y", "spiffe://a"), `entry 2: spiffe_id: "spiffe://a" names a trust domain`},
		{"a parent_id of another trust domain", other("spiffe://a/p", "spiffe://b/p"), `entry 2: parent_id: "spiffe://b/p" is not in the trust domain "a"`},
		{"a spiffe_id that is a number", other(`"spiffe://a/y"`, "7"), "entry 2: spiffe_id: is a number, must be a string"},
		{"no selectors", other(`,"selectors":[{"type":"unix","value":"uid:1"}]`, ""), "entry 2: selectors: there must be at least one"},
		{"selectors that are a string", other(`[{"type":"unix","value":"uid:1"}]`, `"unix:uid:1"`), "entry 2: selectors: is a string, must be a list"},
		{"a selector that is a string", other(`{"type":"unix","value":"uid:1"}`, `"unix:uid:1"`), "must be an object"},
		{"a selector that is null", other(`[{`, `[null,{`), "entry 2: selectors[0]: is null"},
		{"an empty selector", other(`"uid:1"`, `""`), "entry 2: selectors[0]: type and value must not be empty"},
		{"a selector type with a colon", other(`"unix"`, `"unix:uid"`), `entry 2: selectors[0]: type "unix:uid" must not have a colon`},
		{"a selector twice", other(`[{`, `[{"type":"unix","value":"uid:1"},{`), `entry 2: selectors[1]: "unix:uid:1" is selectors[0] once more`},
		{"a selector with an unknown member", other(`"type"`, `"kind":"x","type"`), `entry 2: selectors: unknown field "kind"`},
		{"a negative TTL", other(`"selectors"`, `"x509_svid_ttl":-1,"selectors"`), "entry 2: x509_svid_ttl: is -1, must not be negative"},
		{"a TTL that is a string", other(`"selectors"`, `"jwt_svid_ttl":"1h","selectors"`), "entry 2: jwt_svid_ttl: is a string, must be a whole number"},
		{"a TTL out of range", other(`"selectors"`, `"jwt_svid_ttl":3000000000,"selectors"`), "entry 2: jwt_svid_ttl: is number 3000000000, must be a whole number of at most 31 bits"},
		{"a negative expiry", other(`"selectors"`, `"entryExpiry":-5,"selectors"`), "entry 2: entryExpiry: is -5"},
		{"a bad trust domain", other(`"selectors"`, `"federates_with":["b","no good"],"selectors"`), `entry 2: federates_with[1]: "no good" is not a trust domain`},
		{"a bad DNS name", other(`"selectors"`, `"dns_names":["a b"],"selectors"`), `entry 2: dns_names[0]: "a b" is not a DNS name`},
		{"a DNS name with a wildcard within", other(`"selectors"`, `"dns_names":["a.*.b"],"selectors"`), `entry 2: dns_names[0]: "a.*.b" is not a DNS name: only its first label may be a wildcard`},
		{"a DNS name that ends with a dot", other(`"selectors"`, `"dns_names":["a.b."],"selectors"`), `entry 2: dns_names[0]: "a.b." is not a DNS name: it must not end with a dot`},
		{"an empty DNS name", other(`"selectors"`, `"dns_names":["*."],"selectors"`), `entry 2: dns_names[0]: "*." is not a DNS name: it is empty`},
		{"a DNS name with two hyphens where those of punycode are", other(`"selectors"`, `"dns_names":["ab--cd.x"],"selectors"`), `entry 2: dns_names[0]: "ab--cd.x" is not a DNS name: invalid label`},
		{"a DNS name of broken punycode", other(`"selectors"`, `"dns_names":["xn--a.x"],"selectors"`), `entry 2: dns_names[0]: "xn--a.x" is not a DNS name: invalid label`},
		{"a DNS name of another alphabet", other(`"selectors"`, `"dns_names":["bücher.x"],"selectors"`), `entry 2: dns_names[0]: "bücher.x" is not a DNS name: names of other alphabets`},
		{"a DNS name that a wildcard covers", other(`"selectors"`, `"dns_names":["*.b.c","a.b.c"],"selectors"`), `entry 2: dns_names[1]: "a.b.c" is covered by dns_names[0], "*.b.c"; leave one out`},
		{"a DNS name that is too long", other(`"selectors"`, `"dns_names":["`+strings.Repeat("a23456789.", 25)+`abcd"],"selectors"`), "abcd\" is not a DNS name"},
		{"a TTL of before SPIRE 1.5", other(`"selectors"`, `"ttl":3600,"selectors"`), "entry 2: ttl: is of SPIRE before 1.5; write x509_svid_ttl and jwt_svid_ttl"},
		{"a DNS name twice", other(`"selectors"`, `"dns_names":["a","a"],"selectors"`), `entry 2: dns_names[1]: "a" is dns_names[0] once more`},
		{"a flag that is a string", other(`"selectors"`, `"admin":"yes","selectors"`), "entry 2: admin: is a string, must be true or false"},
		{"a misspelt field", other(`"spiffe_id"`, `"spiffeID"`), "entry 2: spiffeID: is not a field of an entry; write spiffe_id"},
		{"a field of something else", other(`"selectors"`, `"colour":1,"selectors"`), "entry 2: colour: is not a field of an entry"},
		{"a stored SVID with selectors of two types", other(`[{`, `[{"type":"k8s","value":"ns:x"},{`)[:1] + `"store_svid":true,` + other(`[{`, `[{"type":"k8s","value":"ns:x"},{`)[1:],
			`entry 2: store_svid: needs selectors of one type, there are "k8s" and "unix"`},
		{"an id with a blank", other("e2", "e 2"), `entry 2: entry_id: "e 2" has other characters`},
		{"an id that is reserved", other("e2", "mine-2"), `entry 2: entry_id: "mine-2" begins with "mine-"`},
		{"a huge id", other("e2", strings.Repeat("x", 300)), "entry 2: entry_id: has 300 bytes, the limit is 255"},
		{"a huge hint", other(`"selectors"`, `"hint":"`+strings.Repeat("x", 2000)+`","selectors"`), "entry 2: hint: has 2000 bytes, the limit is 1024"},
		{"a huge entry", other("uid:1", strings.Repeat("x", 1<<20)), "bytes, the limit is 1048576"},
		{"what is not UTF-8", other("uid:1", "uid:\xff"), "entry 2: is not valid UTF-8"},
		{"an id twice", other("e2", "e1"), `entry 2: entry_id: "e1" is that of entry 1 too`},
		{"an entry twice", strings.Replace(good, "e1", "e2", 1), "entry 2: has the same spiffe_id, parent_id and selectors as entry 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f, err := entryfile.Parse("my.json", []byte(list(good, test.entry)), "mine-")
			if err != nil {
				t.Fatal(err)
			}
			demand(t, f.Malformed(), []string{"my.json: 1 of 2 entries are malformed", test.want})
			if len(f.Entries) != 1 || f.Entries[0].EntryId != "e1" {
				t.Errorf("kept %v, want the good entry", f.Entries)
			}
		})
	}
}

// TestParse_TakesWhatTheDataStoreTakes holds the limit of an entry's size against
// what the DataStore does with such entries.
func TestParse_TakesWhatTheDataStoreTakes(t *testing.T) {
	for _, test := range []struct {
		selectors int
		id        string
		ok        bool
	}{
		{10_000, "e", true},
		{10_000, strings.Repeat("x", 255), true},
		{20_000, strings.Repeat("x", 255), false},
	} {
		selectors := make([]string, test.selectors)
		for i := range selectors {
			selectors[i] = fmt.Sprintf(`{"type":"unix","value":"uid:%d"}`, i)
		}
		entry := other(`{"type":"unix","value":"uid:1"}`, strings.Join(selectors, ","))
		f, err := entryfile.Parse("f", []byte(list(strings.Replace(entry, "e2", test.id, 1))), "")
		if err != nil {
			t.Fatal(err)
		}
		if !test.ok {
			demand(t, f.Malformed(), []string{"entry 1: has 20000 selectors", "too much for one transaction"})
			continue
		}
		if err := f.Malformed(); err != nil {
			t.Fatal(err)
		}
		s := memstore.New(memstore.Config{})
		defer s.Close()
		data, err := datastore.New(s, datastore.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := data.CreateRegistrationEntry(t.Context(), f.Entries[0]); err != nil {
			t.Errorf("%d selectors: %v", test.selectors, err)
		}
	}
}

func TestParse_NamesAllThatIsWrong(t *testing.T) {
	data := list(`{"spiffe_id":7,"parent_id":"x"}`, good, `{"hint":true}`)
	f, err := entryfile.Parse("my.json", []byte(data), "")
	if err != nil {
		t.Fatal(err)
	}
	demand(t, f.Malformed(), []string{
		"2 of 3 entries", "entry 1: spiffe_id: is a number", "entry 1: parent_id: \"x\"", "entry 1: selectors:",
		"entry 3: spiffe_id: is missing", "entry 3: parent_id: is missing", "entry 3: selectors:", "entry 3: hint: is a boolean, must be a string",
	})
	if strings.Contains(f.Malformed().Error(), "spiffe_id: is missing\n  entry 1") {
		t.Error("a field of the wrong type is reported as missing too")
	}
}

// demand checks that err is an ErrFile that says all that it should.
func demand(t *testing.T, err error, wants []string) {
	t.Helper()
	if !errors.Is(err, entryfile.ErrFile) {
		t.Fatalf("error %v", err)
	}
	for _, want := range wants {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %.400q does not say %q", fmt.Sprint(err), want)
		}
	}
}
