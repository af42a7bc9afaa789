// Package records writes down how SPIRE's objects are stored: which item each
// object is, by which indexes it is found, which sequence numbers it takes, and
// how to read all of it back. The datastore writes by it and the cache reads by
// it.
//
// A [Kind] describes one kind of object. For an object of type t with the id i:
//
//	item     keys.AppendItem(t, i)                     number, protobuf message
//	index    keys.AppendIndex(t, field, value, number) i
//	index    ... of a set, such as selectors           size of the set, i
//	counter  keys.AppendCounter(t)
//
// The number has 8 bytes, big-endian. The object takes it from the counter of
// its type when it is created and keeps it, so that numbers count the creations
// of a type: 1, 2, 3. The size of a set is a uvarint.
//
// Every object is in the index [FieldOrder], whose value is empty: it lists the
// objects in the order of their creation. The other indexes are listed at each
// kind. An [IndexRecord] is one record of an index but for the number. In an
// update [Diff] tells which of them change.
//
// A [Stream] describes records without an id but their number: events.
//
// # Sets
//
// An object with a set of n values in a field has n records in the index of the
// field, each with n in it. From the records alone, decoding no object, one can
// tell how the set compares with the r values of a request: the object is hit
// by h of them, and its set equals them if h = n = r, is part of them if h = n,
// holds them all if h = r, and meets them if h > 0.
//
// # Long values
//
// An index value of more than [IndexValueBytesMax] bytes is replaced by the byte
// ff and its SHA-256 digest, as is a value of that form. Equality is kept, order
// isn't, so no field that is scanned as a range has values so long. Ids are not
// replaced: an id must fit into the key of an item.
//
// # Guarantees
//
// Encoding is deterministic and never touches the object it is given, not even
// the caches that protobuf keeps within messages. What is decoded shares no
// memory with the bytes, and is deeply equal, in Go's sense, to the same object
// written as a literal. What doesn't decode is a [MalformedError], with the
// key.
//
// The layout is durable: fields and indexes may be added, never changed.
package records
