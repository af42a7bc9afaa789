package records

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/spire-raft/spire-raft/keys"
)

// numberSize is the size of the sequence number before a stored message.
const numberSize = 8

// Kind describes how objects of type T are stored.
type Kind[T any] struct {
	typ    string
	secret bool // ids must not be shown

	id      func(T) string
	message func(T) proto.Message // a private copy
	decode  func(id string, message []byte) (T, error)
	index   func(T, *indexer)
}

// Item is an object as it is stored.
type Item[T any] struct {
	// Number is the object's sequence number. It is 0 in a transaction that
	// creates the object.
	Number uint64
	Object T
}

// Type returns the type of the kind's items and indexes.
func (k *Kind[T]) Type() string { return k.typ }

// Counter returns the name of the counter that numbers the objects.
func (k *Kind[T]) Counter() []byte { return keys.AppendCounter(nil, k.typ) }

// ID returns the id of an object.
func (k *Kind[T]) ID(object T) string { return k.id(object) }

// Key returns the key of the item with the given id.
func (k *Kind[T]) Key(id string) []byte { return keys.AppendItem(nil, k.typ, id) }

// Prefix returns what the keys of all items begin with, and no other key.
func (k *Kind[T]) Prefix() []byte { return keys.AppendItemPrefix(nil, k.typ) }

// Encode returns the value of an item. The number has its place in the first 8
// bytes, where a store patches it in if it isn't known yet. The error is
// [ErrInvalid].
func (k *Kind[T]) Encode(item Item[T]) ([]byte, error) {
	value := binary.BigEndian.AppendUint64(nil, item.Number)
	value, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(value, k.message(item.Object))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrInvalid, k.typ, err)
	}
	return value, nil
}

// Decode reads the value of the item with the given id. The error is a
// [MalformedError].
func (k *Kind[T]) Decode(id string, value []byte) (Item[T], error) {
	if len(value) < numberSize {
		return Item[T]{}, k.Malformed(id, errors.New("no sequence number"))
	}
	object, err := k.decode(id, value[numberSize:])
	if err != nil {
		return Item[T]{}, k.Malformed(id, err)
	}
	if k.id(object) != id {
		return Item[T]{}, k.Malformed(id, errors.New("object has another id"))
	}
	return Item[T]{Number: binary.BigEndian.Uint64(value), Object: object}, nil
}

// DecodePair reads an item from its key and value. The error is a
// [MalformedError].
func (k *Kind[T]) DecodePair(key, value []byte) (Item[T], error) {
	item, err := keys.ParseItem(key)
	if err != nil || string(item.Type) != k.typ {
		return Item[T]{}, k.malformed(key, errors.New("not the key of an item of type "+k.typ))
	}
	return k.Decode(string(item.ID), value)
}

// Malformed returns the [MalformedError] for the item with the given id.
func (k *Kind[T]) Malformed(id string, reason error) error { return k.malformed(k.Key(id), reason) }

func (k *Kind[T]) malformed(key []byte, reason error) error {
	return &MalformedError{Key: bytes.Clone(key), Reason: reason, secret: k.secret}
}

// unmarshal decodes a message.
func unmarshal[M any, P interface {
	*M
	proto.Message
}](data []byte) (P, error) {
	m := P(new(M))
	if err := proto.Unmarshal(data, m); err != nil {
		return nil, err
	}
	return m, nil
}
