// Package keys lays out the keys of items, indexes and counters.
//
//	item     'd' type id                     an object; the value is the object
//	index    'i' type field value sequence   an object found by a field; the value is the item's id
//	counter  'c' name                        a counter of sequence numbers
//
// The first byte is the kind of key, so that kinds never collide, whatever the
// types are called. Each other part but the sequence ends with the bytes 00 01,
// and a byte 00 within it is written as 00 ff. The sequence is a number of 8
// bytes, big-endian. For example:
//
//	item "agent" "a1"                  64 'a' 'g' 'e' 'n' 't' 00 01 'a' '1' 00 01
//	index "agent" "banned" "\x00" 258  69 'a' 'g' 'e' 'n' 't' 00 01
//	                                   'b' 'a' 'n' 'n' 'e' 'd' 00 01
//	                                   00 ff 00 01
//	                                   00 00 00 00 00 00 01 02
//
// # Guarantees
//
// Parts may hold any bytes and may be empty.
//
// Keys of one kind sort as the tuples of their parts do: by the first part, then
// by the second, and so on, parts byte by byte, sequences as numbers. The
// entries of an index with equal values are therefore in the order of their
// sequences, which is the order of creation.
//
// No key is the beginning of another key, and a prefix for a whole part holds
// exactly the keys with that part: the prefix for value "a" does not match the
// value "ab".
//
// Every key has one encoding. What the Parse functions accept is what the
// Append functions write, byte for byte; all else is [ErrMalformed].
//
// The layout is durable: it must not change once data is stored in it.
//
// # Limits
//
// A key takes 1 byte, 2 bytes for each part and 1 for each byte 00 in it, and 8
// for a sequence, besides the parts themselves. The package doesn't limit the
// length of keys; stores do.
//
// # Numbers known at commit
//
// [AppendIndexUnnumbered] leaves room for a sequence number that a store fills
// in when it commits. A collection of records that have no id but their number,
// such as a log of events, is an index with an empty value.
package keys
