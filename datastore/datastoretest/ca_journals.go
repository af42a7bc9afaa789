package datastoretest

import (
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/spire-raft/spire-raft/datastore"
	recordsv1 "github.com/spire-raft/spire-raft/proto/records/v1"
	spirev1 "github.com/spire-raft/spire-raft/proto/spire/v1"
	"github.com/spire-raft/spire-raft/records"
)

var caJournalTests = []conformanceTest{
	{"2.9 SetCAJournal creates with the IDs 1, 2, 3", createJournals},
	{"2.9 SetCAJournal replaces, also by what is empty", replaceJournal},
	{"2.9 T18 SetCAJournal returns what Fetch does, also where data is empty", emptyJournal},
	{"2.9 SetCAJournal: nil, and an unknown ID", setWrongJournal},
	{"2.9 T37 FetchCAJournal returns the newest of several", fetchJournal},
	{"2.9 7.2 PruneCAJournals", pruneJournals},
	{"2.9 PruneCAJournals names one that does not decode, and prunes the others", pruneCorruptJournals},
	{"2.9 PruneCAJournals keeps what changes meanwhile", pruneChangedJournals},
	{"2.9 CA journals: logs", journalLogs},
	{"2.9 T40 parallel SetCAJournal", setJournalParallel},
	{"2.0 CA journals: inputs are left alone, results are private", journalsAreCopied},
	{"2.0 CA journals: texts that are not UTF-8 are refused", journalNotUTF8},
	{"2.0 CA journals: what does not decode is named, others are served", damagedJournal},
	{"2.0 CA journals: closed DataStore", journalsClosed},
}

type journal = datastore.CAJournal

func journalWith(id uint, data []byte, authority string) *journal {
	return &journal{ID: id, Data: data, ActiveX509AuthorityID: authority}
}

// addJournal stores a journal and checks its ID.
func (e *env) addJournal(authority string, data []byte, wantID uint) {
	e.Helper()
	got, err := e.at(int(wantID)).SetCAJournal(e.ctx(), &journal{Data: data, ActiveX509AuthorityID: authority})
	e.succeeds(err)
	if len(data) == 0 {
		data = nil // as Fetch returns it
	}
	same(e, got, &journal{ID: wantID, Data: data, ActiveX509AuthorityID: authority}, "created journal")
}

// hasJournals reports that other journals are stored, on any handle.
func (e *env) hasJournals(want ...*journal) {
	e.Helper()
	for _, d := range e.all {
		got, err := d.ListCAJournalsForTesting(e.ctx())
		e.succeeds(err)
		same(e, got, want, "journals")
	}
}

func createJournals(e *env) {
	e.hasJournals()
	e.addJournal("a", []byte("opaque \xff"), 1)
	e.addJournal("b", []byte("b"), 2)
	e.addJournal("a", []byte("a"), 3) // no uniqueness
	e.addJournal("", []byte("no authority"), 4)
	e.hasJournals(
		journalWith(1, []byte("opaque \xff"), "a"), journalWith(2, []byte("b"), "b"),
		journalWith(3, []byte("a"), "a"), journalWith(4, []byte("no authority"), ""),
	)
}

func replaceJournal(e *env) {
	e.addJournal("a", []byte("data a"), 1)
	e.addJournal("b", []byte("data b"), 2)
	got, err := e.SetCAJournal(e.ctx(), journalWith(1, []byte("new"), "new"))
	e.succeeds(err)
	same(e, got, journalWith(1, []byte("new"), "new"), "result")
	e.hasJournals(journalWith(1, []byte("new"), "new"), journalWith(2, []byte("data b"), "b"))
	old, err := e.FetchCAJournal(e.ctx(), "a")
	if old != nil || err != nil {
		e.Errorf("found by the old authority: %v, %v", old, err)
	}

	got, err = e.SetCAJournal(e.ctx(), &journal{ID: 1})
	e.succeeds(err)
	same(e, got, &journal{ID: 1}, "result")
	e.hasJournals(&journal{ID: 1}, journalWith(2, []byte("data b"), "b"))
}

func emptyJournal(e *env) {
	for id := range uint(2) { // created, then replaced
		got, err := e.SetCAJournal(e.ctx(), &journal{ID: id, Data: []byte{}, ActiveX509AuthorityID: "a"})
		e.succeeds(err)
		same(e, got, journalWith(1, nil, "a"), "journal")
		fetched, err := e.FetchCAJournal(e.ctx(), "a")
		e.succeeds(err)
		same(e, fetched, got, "fetched journal")
	}
}

func setWrongJournal(e *env) {
	got, err := e.SetCAJournal(e.ctx(), nil)
	e.failsAs(err, codes.InvalidArgument, "ca journal is required")
	same(e, got, nil, "result")
	e.addJournal("a", []byte("a"), 1)
	for _, id := range []uint{2, 999, ^uint(0)} {
		got, err = e.SetCAJournal(e.ctx(), &journal{ID: id, ActiveX509AuthorityID: "a"})
		e.isNotFound(err)
		same(e, got, nil, "result")
	}
	e.hasJournals(journalWith(1, []byte("a"), "a"))
}

func fetchJournal(e *env) {
	got, err := e.FetchCAJournal(e.ctx(), "")
	e.failsAs(err, codes.InvalidArgument, "active X509 authority ID is required")
	same(e, got, nil, "result")

	e.addJournal("a", []byte("1"), 1)
	e.addJournal("b", []byte("2"), 2)
	e.addJournal("a", []byte("3"), 3)
	e.addJournal("", []byte("4"), 4)
	tests := map[string]*journal{
		"a": journalWith(3, []byte("3"), "a"), "b": journalWith(2, []byte("2"), "b"), "A": nil, "c": nil,
	}
	for authority, want := range tests {
		for _, d := range e.all {
			got, err := d.FetchCAJournal(e.ctx(), authority)
			e.succeeds(err)
			same(e, got, want, "journal of "+authority)
		}
	}
}

// journalData is the data of a journal with authorities that expire then.
func (e *env) journalData(x509CAs, jwtKeys, witKeys []int64) []byte {
	e.Helper()
	entries := &spirev1.CAJournalEntries{}
	for _, notAfter := range x509CAs {
		entries.X509CAs = append(entries.X509CAs, &spirev1.X509CAEntry{NotAfter: notAfter, AuthorityId: "x"})
	}
	for _, notAfter := range jwtKeys {
		entries.JwtKeys = append(entries.JwtKeys, &spirev1.JWTKeyEntry{NotAfter: notAfter, Kid: "j"})
	}
	for _, notAfter := range witKeys {
		entries.WitKeys = append(entries.WitKeys, &spirev1.WITKeyEntry{NotAfter: notAfter, Kid: "w"})
	}
	data, err := proto.Marshal(entries)
	e.succeeds(err)
	return data
}

func pruneJournals(e *env) {
	const limit = 100
	tests := []struct {
		name            string
		x509, jwts, wit []int64
		pruned          bool
	}{
		{"all expired", []int64{1, 99}, []int64{50}, []int64{2}, true},
		{"equal", []int64{100}, []int64{100}, []int64{100}, true},
		{"a live CA", []int64{1, 101, 2}, []int64{1}, nil, false},
		{"a live JWT key", []int64{1}, []int64{1, 101}, nil, false},
		{"7.3 a live WIT key", []int64{1}, nil, []int64{101}, false},
		{"T36 nothing in it", nil, nil, nil, true},
		{"without an expiry", []int64{0}, nil, nil, true},
	}
	var left []*journal
	for i, test := range tests {
		data := e.journalData(test.x509, test.jwts, test.wit)
		e.addJournal(test.name, data, uint(i)+1)
		if !test.pruned {
			left = append(left, journalWith(uint(i)+1, data, test.name))
		}
	}
	e.succeeds(e.at(1).PruneCAJournals(e.ctx(), limit))
	e.hasJournals(left...)
	got, err := e.FetchCAJournal(e.ctx(), "all expired")
	if got != nil || err != nil {
		e.Errorf("got %v, %v", got, err)
	}
	e.succeeds(e.PruneCAJournals(e.ctx(), 0))
	e.hasJournals(left...)
	e.succeeds(e.PruneCAJournals(e.ctx(), 101))
	e.hasJournals()
	same(e, e.keyCount(), 0, "keys")
	e.addJournal("next", nil, uint(len(tests))+1) // IDs are not used again
}

func pruneCorruptJournals(e *env) {
	expired := e.journalData([]int64{1}, nil, nil)
	for i, data := range [][]byte{expired, []byte("\xff"), expired} {
		e.addJournal("a", data, uint(i)+1)
	}
	err := e.PruneCAJournals(e.ctx(), 100)
	e.failsWith(err, codes.Internal, "desc = unable to unmarshal entries from CA journal record: ", "data of journal 2: ")
	e.hasJournals(journalWith(2, []byte("\xff"), "a"))
}

func pruneChangedJournals(e *env) {
	expired, live := e.journalData([]int64{1}, nil, nil), e.journalData([]int64{101}, nil, nil)
	for id := range 3 {
		e.addJournal("a", expired, uint(id)+1)
	}
	d := e.between(func() {
		for id, data := range [][]byte{live, []byte("\xff")} {
			_, err := e.SetCAJournal(e.ctx(), journalWith(uint(id)+1, data, "a"))
			e.succeeds(err)
		}
	})
	e.failsWith(d.PruneCAJournals(e.ctx(), 100), codes.Internal, "data of journal 2: ")
	e.hasJournals(journalWith(1, live, "a"), journalWith(2, []byte("\xff"), "a"))
}

func journalLogs(e *env) {
	d, logs := e.logging()
	for _, notAfter := range []int64{1, 200, 2} {
		_, err := d.SetCAJournal(e.ctx(), &journal{Data: e.journalData([]int64{notAfter}, nil, nil)})
		e.succeeds(err)
	}
	same(e, logs.take(), nil, "log of set")
	e.succeeds(d.PruneCAJournals(e.ctx(), 100))
	same(e, logs.take(), []string{
		"INFO Pruned stale CA journal record ca_journal_id=1", "INFO Pruned stale CA journal record ca_journal_id=3",
	}, "log of prune")
	e.succeeds(d.PruneCAJournals(e.ctx(), 100))
	same(e, logs.take(), nil, "log of nothing")
	e.sameEvents(e.nodeEvents())
	e.sameEvents(e.entryEvents())
}

func setJournalParallel(e *env) {
	const n = 10
	e.addJournal("a", nil, 1)
	errs := parallel(2*n, func(i int) error {
		j := &journal{ActiveX509AuthorityID: fmt.Sprint(i)}
		if i%2 == 0 {
			j.ID = 1
		}
		_, err := e.at(i).SetCAJournal(e.ctx(), j)
		return err
	})
	same(e, errs, nil, "errors")
	got, err := e.ListCAJournalsForTesting(e.ctx())
	e.succeeds(err)
	same(e, len(got), 1+n, "journals")
	for i, j := range got {
		same(e, j.ID, uint(i)+1, "ID")
	}
	same(e, e.keyCount(), 3*(1+n), "keys")
}

func journalsAreCopied(e *env) {
	input := &journal{Data: []byte("data"), ActiveX509AuthorityID: "a"}
	got, err := e.SetCAJournal(e.ctx(), input)
	e.succeeds(err)
	same(e, input, &journal{Data: []byte("data"), ActiveX509AuthorityID: "a"}, "input")
	input.Data[0] = 'x'
	same(e, got.Data, []byte("data"), "result")
	got.Data[0] = 'y'
	e.hasJournals(journalWith(1, []byte("data"), "a"))
}

func journalNotUTF8(e *env) {
	e.addJournal("a", []byte("data"), 1)
	_, err := e.SetCAJournal(e.ctx(), &journal{ActiveX509AuthorityID: notUTF8})
	e.isInvalidText(err)
	_, err = e.SetCAJournal(e.ctx(), &journal{ID: 1, ActiveX509AuthorityID: notUTF8})
	e.isInvalidText(err)
	got, err := e.FetchCAJournal(e.ctx(), notUTF8)
	if got != nil || err != nil {
		e.Errorf("got %v, %v", got, err)
	}
	e.hasJournals(journalWith(1, []byte("data"), "a"))
}

func damagedJournal(e *env) {
	e.addJournal("good", []byte("data"), 1)
	plant(e, records.CAJournals, &recordsv1.CAJournal{Key: "bad key", ActiveX509AuthorityId: "bad"})
	damage(e, records.CAJournals, "bad key")
	_, err := e.FetchCAJournal(e.ctx(), "bad")
	e.failsWith(err, codes.Unknown, `"ca-journal" "bad key"`)
	_, err = e.SetCAJournal(e.ctx(), &journal{ID: 2})
	e.failsWith(err, codes.Unknown, `"ca-journal" "bad key"`)
	got, err := e.FetchCAJournal(e.ctx(), "good")
	e.succeeds(err)
	same(e, got, journalWith(1, []byte("data"), "good"), "the other journal")
}

func journalsClosed(e *env) {
	e.succeeds(e.Close())
	_, err := e.SetCAJournal(e.ctx(), nil)
	e.failsAs(err, codes.InvalidArgument, "ca journal is required")
	_, err = e.FetchCAJournal(e.ctx(), "")
	e.failsAs(err, codes.InvalidArgument, "active X509 authority ID is required")
	for _, id := range []uint{0, 1} {
		_, err = e.SetCAJournal(e.ctx(), &journal{ID: id})
		e.isClosed(err)
	}
	_, err = e.FetchCAJournal(e.ctx(), "a")
	e.isClosed(err)
	e.isClosed(e.PruneCAJournals(e.ctx(), 1))
	_, err = e.ListCAJournalsForTesting(e.ctx())
	e.isClosed(err)
}
