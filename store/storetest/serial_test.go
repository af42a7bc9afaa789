package storetest

import "testing"

// TestMakerOf finds the transaction that made a revision among those that came
// right behind it and changed nothing.
func TestMakerOf(t *testing.T) {
	state := map[string]string{"k": "v"}
	writes := func(pairs ...string) *serialTx {
		tx := &serialTx{writes: make(map[string]string)}
		for i := 0; i < len(pairs); i += 2 {
			tx.writes[pairs[i]] = pairs[i+1]
		}
		return tx
	}
	reading := func(tx *serialTx, found ...string) *serialTx {
		tx.reads = []serialRead{{from: "k", to: "k\x00", found: found}}
		return tx
	}
	for name, c := range map[string]struct {
		group []*serialTx
		want  int
	}{
		"alone":                     {[]*serialTx{writes("x", "1")}, 0},
		"none changes anything":     {[]*serialTx{writes("absent", "")}, -1},
		"the other deletes nothing": {[]*serialTx{writes("absent", ""), writes("x", "1")}, 1},
		"both delete the same":      {[]*serialTx{writes("k", ""), writes("k", "", "x", "1")}, 1},
		"both delete the same, and one saw it": {
			[]*serialTx{reading(writes("k", "")), reading(writes("k", ""), "k=v")}, 1,
		},
		"one saw what the other changed": {[]*serialTx{writes("x", "1"), reading(writes("absent", ""), "k=old")}, -1},
		"both change something":          {[]*serialTx{writes("x", "1"), writes("y", "1")}, -1},
		"one deletes what one puts":      {[]*serialTx{writes("k", ""), writes("k", "1")}, -1},
	} {
		if got := makerOf(c.group, state); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
}
