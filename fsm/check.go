package fsm

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	fsmv1 "github.com/spire-raft/spire-raft/proto/fsm/v1"
	"github.com/spire-raft/spire-raft/store"
)

// itemsMax is how many items a command, and how many commands an entry, may
// have where they come from another server. Each takes more memory than it has
// bytes. No transaction within store.TxBytesMax has more.
const itemsMax = store.TxBytesMax / itemBytes

// CheckEntry returns an error unless data is what [EncodeEnvelope] makes of
// commands that this version knows: an [ErrTooNew], a [store.ErrTooLarge] or a
// [store.ErrCorrupt]. Entries that another server sends go through it before
// they may enter the log: one that it lets through doesn't stop the machine.
func CheckEntry(data []byte) error {
	if len(data) > envelopeHeadBytes {
		if err := checkItems((*fsmv1.Envelope)(nil).ProtoReflect().Descriptor(), data[envelopeHeadBytes:]); err != nil {
			return err
		}
	}
	cmds, err := decodeEnvelope(data)
	if err != nil {
		return err
	}
	for _, cmd := range cmds {
		if err := checkItems((*fsmv1.Command)(nil).ProtoReflect().Descriptor(), cmd); err != nil {
			return err
		}
		c, err := decodeCommand(cmd)
		if err != nil {
			return err
		}
		if err := checkSupported(c); err != nil {
			return err
		}
	}
	return nil
}

// checkItems returns an error where a message has more than itemsMax items: its
// lists' and messages, those within messages included.
func checkItems(d protoreflect.MessageDescriptor, b []byte) error {
	n, err := countItems(d, b)
	if err == nil && n > itemsMax {
		err = fmt.Errorf("%w: a message of %d bytes has %d items, the limit is %d", store.ErrTooLarge, len(b), n, itemsMax)
	}
	return err
}

func countItems(d protoreflect.MessageDescriptor, b []byte) (items int, _ error) {
	for len(b) > 0 {
		number, kind, tag := protowire.ConsumeTag(b)
		if tag < 0 {
			return 0, fmt.Errorf("%w: a message: %w", store.ErrCorrupt, protowire.ParseError(tag))
		}
		size := protowire.ConsumeFieldValue(number, kind, b[tag:])
		if size < 0 {
			return 0, fmt.Errorf("%w: a message: %w", store.ErrCorrupt, protowire.ParseError(size))
		}
		value := b[tag : tag+size]
		b = b[tag+size:]
		field := d.Fields().ByNumber(number)
		switch {
		case field == nil: // decoding refuses it
		case field.Message() != nil && kind == protowire.BytesType:
			within, _ := protowire.ConsumeBytes(value)
			n, err := countItems(field.Message(), within)
			if err != nil {
				return 0, err
			}
			items += 1 + n
		case field.IsList():
			items++
		}
	}
	return items, nil
}
