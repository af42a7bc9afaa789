package keys

// Item is what the key of an item says.
type Item struct {
	Type []byte
	ID   []byte
}

// AppendItem appends the key of the item of type typ with the given id to dst.
func AppendItem[T Bytes](dst []byte, typ string, id T) []byte {
	return appendPart(AppendItemPrefix(dst, typ), id)
}

// AppendItemPrefix appends to dst what the keys of all items of type typ begin
// with, and no other key.
func AppendItemPrefix(dst []byte, typ string) []byte {
	return appendPart(append(dst, kindItem), typ)
}

// ParseItem reads the key of an item. The parts share the key's bytes where
// they can. The error is [ErrMalformed].
func ParseItem(key []byte) (Item, error) {
	r := reader{rest: key}
	r.kind(kindItem)
	item := Item{Type: r.part("type"), ID: r.part("id")}
	if err := r.end(); err != nil {
		return Item{}, err
	}
	return item, nil
}
