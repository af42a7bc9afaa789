// Package logstore keeps raft's log, term and vote on disk. It stands between
// hashicorp/raft and a store of entries (a [Backend], here raft-boltdb) and
// adds what raft takes for granted, and a memory of what is committed:
//
// Fail-stop. After a failed write nobody knows what is on disk: bbolt may show
// the transaction later, and the kernel may report the next sync as fine
// although it dropped pages. So the first error is latched: it is reported
// once, and every later call fails. Only a new [Store] on the reopened file
// goes on.
//
// Checksums. raft-boltdb stores entries as plain msgpack in pages without
// checksums. A Store appends to [raft.Log.Extensions] a CRC-32C of index, term,
// type, extensions and data when an entry is stored, and checks and strips it
// when the entry is read, so no one above and no other server sees it. The time
// in AppendedAt is not covered: raft uses it for a metric only. The values of
// the stable store, term and vote, carry a CRC-32C too: a term that loses a bit
// is a second vote in the same term.
//
// What is committed. With each entry a Store keeps up to which index entries
// were known to be committed when it was stored: see [Store.MarkCommitted]. A
// server that is told to drop such entries, by a leader that has lost them, can
// thus refuse, also after a crash.
//
// No crash of the process. hashicorp/raft panics when its main goroutine can't
// save the term or read an entry. See [Store] for what happens instead.
package logstore
