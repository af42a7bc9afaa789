package fsm_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"runtime"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/spire-raft/spire-raft/fsm"
	"github.com/spire-raft/spire-raft/store"
)

func TestCheckEntry(t *testing.T) {
	good := fsm.EncodeEnvelope([][]byte{writes(t, put("a", "1"), del("b")), fsm.EncodeTermStart()})
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	for _, c := range []struct {
		name string
		data []byte
		want error
	}{
		{"commands", good, nil},
		{"no command", fsm.EncodeEnvelope(nil), nil},
		{"a command that will be refused", fsm.EncodeEnvelope([][]byte{fsm.EncodeRemoveNode("")}), nil},
		{"nothing", nil, store.ErrCorrupt},
		{"a flipped bit", flipped, store.ErrCorrupt},
		{"cut off", good[:len(good)-1], store.ErrCorrupt},
		{"an undecodable command", fsm.EncodeEnvelope([][]byte{[]byte("?")}), store.ErrCorrupt},
		{"a command without a kind", fsm.EncodeEnvelope([][]byte{{}}), store.ErrCorrupt},
		{"a command of a later version", fsm.EncodeEnvelope([][]byte{protowire.AppendVarint(protowire.AppendTag(nil, 1000, protowire.VarintType), 1)}), fsm.ErrTooNew},
		{"a level of a later version", fsm.EncodeEnvelope([][]byte{fsm.EncodeRaiseFeatureLevel(math.MaxUint32)}), fsm.ErrTooNew},
	} {
		if err := fsm.CheckEntry(c.data); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// TestCheckEntry_ManyItemsTakeNoMemory: an empty item has two bytes, and costs
// some hundred when it is decoded.
func TestCheckEntry_ManyItemsTakeNoMemory(t *testing.T) {
	const size = 8 << 20
	items := func(field protowire.Number) []byte {
		return bytes.Repeat(protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), nil), size/2)
	}
	command := func(transaction []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, transactionField(t), protowire.BytesType), transaction)
	}
	cases := map[string][]byte{"commands": fsm.EncodeEnvelope(make([][]byte, size/2))}
	for field := protowire.Number(2); field <= 6; field++ { // its lists
		cases[fmt.Sprintf("field %d of a transaction", field)] = fsm.EncodeEnvelope([][]byte{command(items(field))})
	}
	for name, data := range cases {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := fsm.CheckEntry(data); !errors.Is(err, store.ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 1<<20 {
			t.Errorf("%s: took %d bytes", name, took)
		}
	}
}

// TestCheckCommand_ManyItemsTakeNoMemory is the same for a command that another
// server forwards. The most that one within the limits takes is logged.
func TestCheckCommand_ManyItemsTakeNoMemory(t *testing.T) {
	const most = store.TxBytesMax / 16 // itemsMax
	for field := protowire.Number(2); field <= 6; field++ {
		item := protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), nil)
		for _, count := range []int{most + 1, most - 1} { // the transaction itself is one
			cmd := protowire.AppendBytes(protowire.AppendTag(nil, transactionField(t), protowire.BytesType), bytes.Repeat(item, count))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := fsm.CheckTransaction(cmd)
			runtime.ReadMemStats(&after)
			took := after.TotalAlloc - before.TotalAlloc
			switch {
			case count > most && !errors.Is(err, store.ErrTooLarge):
				t.Errorf("field %d, %d empty items: %v", field, count, err)
			case count > most && took > 64<<10, took > 64<<20:
				t.Errorf("field %d, %d items of %d bytes together took %d bytes", field, count, len(cmd), took)
			case count < most:
				t.Logf("field %d: %d bytes take %d, %d times as much", field, len(cmd), took, took/uint64(len(cmd)))
			}
		}
	}
}

// transactionField is the number of the command that is a transaction.
func transactionField(t *testing.T) protowire.Number {
	t.Helper()
	number, _, n := protowire.ConsumeTag(writes(t, put("a", "1")))
	if n < 0 {
		t.Fatal("a transaction has no tag")
	}
	return number
}
