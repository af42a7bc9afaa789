package keys

// AppendCounter appends to dst the name of a counter of sequence numbers. Stores
// keep counters apart from keys; where one can't, its name is a key that no
// item or index has.
func AppendCounter(dst []byte, name string) []byte {
	return appendPart(append(dst, kindCounter), name)
}

// ParseCounter reads the name of a counter back. It shares the key's bytes
// where it can. The error is [ErrMalformed].
func ParseCounter(key []byte) ([]byte, error) {
	r := reader{rest: key}
	r.kind(kindCounter)
	name := r.part("name")
	if err := r.end(); err != nil {
		return nil, err
	}
	return name, nil
}
