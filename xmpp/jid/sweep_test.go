package jid

import "testing"

// TestEveryCharacter holds the characters of the first two planes against the property that the canonical form of an address is
// its own canonical form, in each place where a character may stand. The large uniform blocks, ideographs and Hangul syllables,
// are left out.
func TestEveryCharacter(t *testing.T) {
	if testing.Short() {
		t.Skip("reads half a million addresses")
	}
	for r := rune(1); r < 0x20000; r++ {
		switch r {
		case 0x3400:
			r = 0xA000
		case 0xAC10:
			r = 0xF900
		case 0x12000: // cuneiform, hieroglyphs, Tangut, kana supplements
			r = 0x1D000
		}
		c := string(r)
		for _, s := range [...]string{c + "@x", "a" + c + "@x", "x/" + c, c + ".x", "a" + c + ".x", "\u05d0" + c} {
			j, err := Parse(s)
			if err != nil {
				continue
			}
			if k, err := Parse(j.String()); err != nil || k != j {
				t.Errorf("Parse(%+q) = %+q, and that is %+q, %v", s, j, k, err)
			}
		}
	}
}
