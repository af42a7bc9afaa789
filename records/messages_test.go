package records_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	recordsv1 "github.com/spire-raft/spire-raft/proto/records/v1"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
)

// instant is the time, in Unix seconds, of the file of messages.
const instant = 1600000000

// messages is what the file of messages holds.
var messages = []proto.Message{
	&spirev1.Empty{},
	&spirev1.AttestationData{Type: "x509", Data: []byte{0x00, 0xff}},
	&spirev1.Selector{Type: "unix", Value: "uid:0"},
	&spirev1.Selectors{Entries: []*spirev1.Selector{{Type: "a", Value: "1"}, {Type: "b"}}},
	&spirev1.Certificate{DerBytes: []byte{0x30, 0x01, 0x00}, TaintedKey: true},
	&spirev1.PublicKey{PkixBytes: []byte{0x30, 0x00}, Kid: "kid", NotAfter: instant, TaintedKey: true},
	&spirev1.Bundle{
		TrustDomainId:  "spiffe://td",
		RootCas:        []*spirev1.Certificate{{DerBytes: []byte{0x30}, TaintedKey: true}},
		JwtSigningKeys: []*spirev1.PublicKey{{Kid: "kid"}},
		RefreshHint:    300,
		SequenceNumber: 7,
		WitSigningKeys: []*spirev1.PublicKey{{NotAfter: 5}},
	},
	&spirev1.BundleMask{
		RootCas: true, JwtSigningKeys: true, RefreshHint: true, SequenceNumber: true,
		X509TaintedKeys: true, WitSigningKeys: true,
	},
	&spirev1.AttestedNode{
		SpiffeId:            "spiffe://td/n",
		AttestationDataType: "join_token",
		CertSerialNumber:    "17",
		CertNotAfter:        instant,
		NewCertSerialNumber: "18",
		NewCertNotAfter:     300,
		Selectors:           []*spirev1.Selector{{Type: "a"}},
		CanReattest:         true,
		AgentVersion:        "1.2.3",
	},
	&spirev1.AttestedNodeMask{
		AttestationDataType: true, CertSerialNumber: true, CertNotAfter: true, NewCertSerialNumber: true,
		NewCertNotAfter: true, CanReattest: true, AgentVersion: true,
	},
	fullEntry(),
	&spirev1.RegistrationEntries{Entries: []*spirev1.RegistrationEntry{{SpiffeId: "s"}}},
	&spirev1.RegistrationEntryMask{
		Selectors: true, ParentId: true, SpiffeId: true, X509SvidTtl: true, FederatesWith: true, EntryId: true,
		Admin: true, Downstream: true, EntryExpiry: true, DnsNames: true, StoreSvid: true, JwtSvidTtl: true,
		Hint: true, AdditionalAttributes: true,
	},
	&spirev1.FederationRelationshipMask{
		BundleEndpointUrl: true, BundleEndpointProfile: true, TrustDomainBundle: true,
	},
	&spirev1.CAJournalEntries{
		X509CAs: []*spirev1.X509CAEntry{{SlotId: "A"}},
		JwtKeys: []*spirev1.JWTKeyEntry{{SlotId: "B"}},
		WitKeys: []*spirev1.WITKeyEntry{{SlotId: "C"}},
	},
	&spirev1.X509CAEntry{
		SlotId: "A", IssuedAt: 5, Certificate: []byte{0x30, 0x00}, UpstreamChain: [][]byte{{0x31}, {0x32}},
		Status: spirev1.AuthorityStatus_AUTHORITY_STATUS_ACTIVE, AuthorityId: "ab", NotAfter: 6,
		UpstreamAuthorityId: "cd",
	},
	&spirev1.JWTKeyEntry{
		SlotId: "B", IssuedAt: 5, NotAfter: 6, Kid: "kid", PublicKey: []byte{0x30, 0x00},
		Status: spirev1.AuthorityStatus_AUTHORITY_STATUS_PREPARED, AuthorityId: "ef",
	},
	&spirev1.WITKeyEntry{
		SlotId: "C", IssuedAt: 5, NotAfter: 6, Kid: "kid", PublicKey: []byte{0x30, 0x00},
		Status: spirev1.AuthorityStatus_AUTHORITY_STATUS_OLD, AuthorityId: "ef",
	},
	&recordsv1.JoinToken{Token: "tok", Expiry: 300},
	&recordsv1.FederationRelationship{
		TrustDomain: "td", BundleEndpointUrl: "https://x", BundleEndpointProfile: "https_web",
		EndpointSpiffeId: "spiffe://td/s",
	},
	&recordsv1.CAJournal{Key: "k", Data: []byte{0x00, 0xff}, ActiveX509AuthorityId: "ab"},
	&recordsv1.Event{CreatedAt: instant, ObjectId: "id"},
}

// fullEntry returns an entry with a value in every field.
func fullEntry() *spirev1.RegistrationEntry {
	return &spirev1.RegistrationEntry{
		Selectors:      []*spirev1.Selector{{Type: "a", Value: "1"}},
		ParentId:       "spiffe://td/p",
		SpiffeId:       "spiffe://td/w",
		X509SvidTtl:    300,
		FederatesWith:  []string{"spiffe://b"},
		EntryId:        "id",
		Admin:          true,
		Downstream:     true,
		EntryExpiry:    instant,
		DnsNames:       []string{"x", "y"},
		RevisionNumber: 3,
		StoreSvid:      true,
		JwtSvidTtl:     5,
		Hint:           "hint",
		CreatedAt:      -1,
		AdditionalAttributes: &spirev1.RegistrationEntry_AdditionalAttributes{
			DisableX509SvidPrefetch: true,
			JwtSvidIncludeJti:       true,
		},
	}
}

// TestMessages pins the messages, SPIRE's above all, to bytes that were written
// by hand.
func TestMessages(t *testing.T) {
	golden := readMessages(t)
	for _, want := range messages {
		name := string(want.ProtoReflect().Descriptor().Name())
		data, ok := golden[name]
		if !ok {
			t.Errorf("%s is not in the file", name)
			continue
		}
		got := want.ProtoReflect().New().Interface()
		if err := proto.Unmarshal(data, got); err != nil || !proto.Equal(got, want) {
			t.Errorf("%s: reads %v, %v, want %v", name, got, err, want)
		}
		again, err := proto.MarshalOptions{Deterministic: true}.Marshal(got)
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("%s: written as %x, %v, want %x", name, again, err, data)
		}
		delete(golden, name)
	}
	if len(golden) > 0 {
		t.Errorf("nothing compares with the file's %d others", len(golden))
	}
}

// TestMessages_AllHaveEveryField finds messages and fields that were added
// without bytes.
func TestMessages_AllHaveEveryField(t *testing.T) {
	tested := map[protoreflect.FullName]protoreflect.Message{}
	for _, m := range messages {
		tested[m.ProtoReflect().Descriptor().FullName()] = m.ProtoReflect()
	}
	for _, file := range []protoreflect.FileDescriptor{
		spirev1.File_spireraft_spire_v1_spire_proto, recordsv1.File_spireraft_records_v1_records_proto,
	} {
		for i := range file.Messages().Len() {
			desc := file.Messages().Get(i)
			m, ok := tested[desc.FullName()]
			for j := range desc.Fields().Len() {
				if field := desc.Fields().Get(j); !ok || !m.Has(field) {
					t.Errorf("%s is not tested", field.FullName())
				}
			}
		}
	}
}

// SPIRE's fixtures are read with encoding/json.
func TestMessages_HaveTheJSONNamesOfTheirFields(t *testing.T) {
	const text = `{"entry_id":"e","entryExpiry":1,"x509_svid_ttl":2,"store_svid":true,
		"selectors":[{"type":"a","value":"b"}],"additional_attributes":{"disable_x509_svid_prefetch":true}}`
	got := &spirev1.RegistrationEntry{}
	if err := json.Unmarshal([]byte(text), got); err != nil {
		t.Fatal(err)
	}
	want := &spirev1.RegistrationEntry{
		EntryId: "e", EntryExpiry: 1, X509SvidTtl: 2, StoreSvid: true,
		Selectors: []*spirev1.Selector{{Type: "a", Value: "b"}},
		AdditionalAttributes: &spirev1.RegistrationEntry_AdditionalAttributes{
			DisableX509SvidPrefetch: true,
		},
	}
	if !proto.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func readMessages(t testing.TB) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile("testdata/messages.txt")
	if err != nil {
		t.Fatal(err)
	}
	messages := map[string][]byte{}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] == "#" {
			continue
		}
		var data []byte
		for _, f := range fields[1:] {
			if strings.HasPrefix(f, `"`) {
				data = append(data, strings.Trim(f, `"`)...)
				continue
			}
			b, err := hex.DecodeString(f)
			if err != nil {
				t.Fatalf("%s: %v", fields[0], err)
			}
			data = append(data, b...)
		}
		messages[fields[0]] = data
	}
	return messages
}
