package sim

import (
	"bytes"

	"github.com/otasim/otasim/flashmodel/nvs"
	"github.com/otasim/otasim/sim/scenario"
)

// What an attacker gets to read is searched for what should stay secret: an attack that only reads has no other effect.

// pieceLen is how many bytes in a row must be found for a file to be known.
const pieceLen = 64

// pieces are parts of a file, spread over it, without those that are only filler.
func pieces(data []byte) (out [][]byte) {
	const most = 64
	step := max(len(data)/most/pieceLen, 1) * pieceLen
	for at := 0; at+pieceLen <= len(data); at += step {
		w := data[at : at+pieceLen]
		var seen [256]bool
		kinds := 0
		for _, c := range w {
			if !seen[c] {
				seen[c] = true
				kinds++
			}
		}
		if kinds >= pieceLen/4 {
			out = append(out, w)
		}
	}
	return out
}

// shows reports whether what was read contains a piece of a file.
func shows(read []byte, parts [][]byte) bool {
	for _, w := range parts {
		if bytes.Contains(read, w) {
			return true
		}
	}
	return false
}

// readFlash searches a dump of the whole chip, as esptool read-flash gives it: an image, or the private key in NVS.
func (sh *shard) readFlash(a *actor, index int) {
	attack, f := &sh.w.sc.Attacks[index], a.dev.Flash()
	found := false
	switch attack.Find {
	case "image":
		dump := make([]byte, f.Size())
		img := sh.w.fleet.imageOf(attack.Firmware)
		found = img != nil && f.Read(0, dump) == nil && shows(dump, pieces(img.data))
	case "key":
		if region, ok := sh.region(a, "nvs"); ok {
			id, err := nvs.ReadIdentity(f.Fork(), region.Offset, region.Size)
			found = err == nvs.OK && len(id.Key) > 0
		}
	}
	if found {
		if sh.leaked == nil {
			sh.leaked = map[leak]bool{}
		}
		sh.leaked[leak{index, a.name}] = true
	}
}

// leak says that an attacker has what belongs to a thing.
type leak struct {
	attack int
	thing  string
}

// leaks counts, by attack, the things whose secrets are out.
func (w *world) leaks() map[int]int {
	n := map[int]int{}
	for l := range w.side.op.leaked {
		n[l.attack]++
	}
	for _, sh := range w.shards {
		for l := range sh.leaked {
			n[l.attack]++
		}
	}
	return n
}

// reads reports whether an attack is only about what it gets to see.
func reads(a *scenario.Attack) bool {
	return a.Type == scenario.AttackFlashRead || a.Type == scenario.AttackSubscribe || a.Type == scenario.AttackLeakedURL
}
