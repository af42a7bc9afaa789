package datastoretest

import (
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
)

var updateNodeTests = []conformanceTest{
	{"2.5.5 UpdateAttestedNode replaces what the mask names", updateNode},
	{"2.5.5 UpdateAttestedNode without a node is NotFound", updateNoNode},
	{"2.5.5 T40 parallel updates of one node all count", updateNodeParallel},
}

func updateNode(e *env) {
	given := &spirev1.AttestedNode{
		SpiffeId: "foo", AttestationDataType: "other", CertSerialNumber: "1", CertNotAfter: 2,
		NewCertSerialNumber: "3", NewCertNotAfter: 4, AgentVersion: "5", Selectors: selectorList("z:1"),
	}
	tests := []struct {
		name string
		mask *spirev1.AttestedNodeMask
		want func(*spirev1.AttestedNode)
	}{
		{"T25 nil is all but the type", nil, func(n *spirev1.AttestedNode) {
			n.CertSerialNumber, n.CertNotAfter, n.NewCertSerialNumber, n.NewCertNotAfter = "1", 2, "3", 4
			n.CanReattest, n.AgentVersion = false, "5"
		}},
		{"no bit", &spirev1.AttestedNodeMask{}, func(*spirev1.AttestedNode) {}},
		{"T24 attestation_data_type is dead", &spirev1.AttestedNodeMask{AttestationDataType: true}, func(*spirev1.AttestedNode) {}},
		{"cert_serial_number", &spirev1.AttestedNodeMask{CertSerialNumber: true}, func(n *spirev1.AttestedNode) { n.CertSerialNumber = "1" }},
		{"cert_not_after", &spirev1.AttestedNodeMask{CertNotAfter: true}, func(n *spirev1.AttestedNode) { n.CertNotAfter = 2 }},
		{"new_cert_serial_number", &spirev1.AttestedNodeMask{NewCertSerialNumber: true}, func(n *spirev1.AttestedNode) { n.NewCertSerialNumber = "3" }},
		{"new_cert_not_after", &spirev1.AttestedNodeMask{NewCertNotAfter: true}, func(n *spirev1.AttestedNode) { n.NewCertNotAfter = 4 }},
		{"can_reattest", &spirev1.AttestedNodeMask{CanReattest: true}, func(n *spirev1.AttestedNode) { n.CanReattest = false }},
		{"agent_version", &spirev1.AttestedNodeMask{AgentVersion: true}, func(n *spirev1.AttestedNode) { n.AgentVersion = "5" }},
	}
	e.setSelectors("foo", "a:1")
	for i, test := range tests {
		e.addNodes(testNode("foo"))
		want := testNode("foo")
		test.want(want)
		got, err := e.at(i).UpdateAttestedNode(e.ctx(), given, test.mask)
		e.succeeds(err)
		same(e, got, want, test.name)
		e.hasNode(want)
		_, err = e.DeleteAttestedNode(e.ctx(), "foo")
		e.succeeds(err)
	}
}

func updateNoNode(e *env) {
	e.setSelectors("foo", "a:1")
	got, err := e.UpdateAttestedNode(e.ctx(), testNode("foo"), nil)
	e.isNotFound(err)
	same(e, got, nil, "result")
	e.hasNoNode("foo")
}

func updateNodeParallel(e *env) {
	e.addNodes(&spirev1.AttestedNode{SpiffeId: "foo"})
	masks := []*spirev1.AttestedNodeMask{
		{CertSerialNumber: true}, {CertNotAfter: true}, {NewCertSerialNumber: true},
		{NewCertNotAfter: true}, {CanReattest: true}, {AgentVersion: true},
	}
	errs := parallel(len(masks), func(i int) error {
		_, err := e.at(i).UpdateAttestedNode(e.ctx(), testNode("foo"), masks[i])
		return err
	})
	same(e, errs, nil, "errors")
	want := testNode("foo")
	want.AttestationDataType = ""
	e.hasNode(want)
}
