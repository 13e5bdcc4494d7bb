package xmlstream

import "unicode/utf8"

// Classes of bytes. Bytes from 0x80 are in clTextStop, clAttrStop, clEscText and clEscAttr, since they need a look at
// the whole character.
const (
	clNameStart uint8 = 1 << iota // may begin a name; the colon is left out (Namespaces in XML 1.0 §3)
	clName                        // may stand in a name
	clTextStop                    // ends a plain run of character data
	clAttrStop                    // ends a plain run of an attribute value
	clSpace                       // white space (XML 1.0 §2.3)
	clEscText                     // is not written into character data as it is
	clEscAttr                     // is not written into an attribute value as it is
	clRef                         // may stand between & and ;
)

// class is filled once and only read.
var class = func() (t [256]uint8) {
	for b := range 256 {
		switch {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b == '_':
			t[b] = clNameStart | clName | clRef
		case b >= '0' && b <= '9', b == '-', b == '.':
			t[b] = clName | clRef
		case b >= utf8.RuneSelf:
			t[b] = clTextStop | clAttrStop | clEscText | clEscAttr
		case b == '\t', b == '\n':
			t[b] = clSpace | clAttrStop | clEscAttr
		case b == '\r':
			t[b] = clSpace | clTextStop | clAttrStop | clEscText | clEscAttr
		case b == ' ':
			t[b] = clSpace
		case b < ' ':
			t[b] = clTextStop | clAttrStop | clEscText | clEscAttr
		case b == '&', b == '<':
			t[b] = clTextStop | clAttrStop | clEscText | clEscAttr
		case b == '>':
			t[b] = clTextStop | clEscText | clEscAttr
		case b == '\'', b == '"':
			t[b] = clAttrStop | clEscAttr
		case b == '#':
			t[b] = clRef
		}
	}
	return t
}()

// Eight bytes at a time: ones*b is b in each of them, highs their highest bits.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// zeroes has the highest bit set in the first byte of w that is zero. In later bytes it may be set as well.
func zeroes(w uint64) uint64 { return (w - ones) &^ w }

func isSpace(b byte) bool { return class[b]&clSpace != 0 }

// isChar tells whether XML 1.0 §2.2 allows the character.
func isChar(r rune) bool {
	switch {
	case r < ' ':
		return r == '\t' || r == '\n' || r == '\r'
	case r < 0xD800:
		return true
	case r < 0xE000, r == 0xFFFE, r == 0xFFFF:
		return false
	}
	return r <= utf8.MaxRune
}

// isNameStart and isNameChar follow XML 1.0 (5th edition) §2.3 without the colon, which Namespaces in XML 1.0 §3 keeps
// for prefixes.
func isNameStart(r rune) bool {
	if r < utf8.RuneSelf {
		return r >= 0 && class[byte(r)]&clNameStart != 0
	}
	switch {
	case r < 0x300:
		return r >= 0xC0 && r != 0xD7 && r != 0xF7
	case r < 0x2000:
		return r >= 0x370 && r != 0x37E
	case r < 0x3000:
		return r == 0x200C || r == 0x200D || r >= 0x2070 && r <= 0x218F || r >= 0x2C00 && r <= 0x2FEF
	case r < 0x10000:
		return r >= 0x3001 && r <= 0xD7FF || r >= 0xF900 && r <= 0xFDCF || r >= 0xFDF0 && r <= 0xFFFD
	}
	return r <= 0xEFFFF
}

func isNameChar(r rune) bool {
	if r < utf8.RuneSelf {
		return r >= 0 && class[byte(r)]&clName != 0
	}
	return isNameStart(r) || r == 0xB7 || r >= 0x300 && r <= 0x36F || r == 0x203F || r == 0x2040
}

// isNCName tells whether s is a name without a colon.
func isNCName(s string) bool {
	if s == "" {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return isWideNCName(s)
		}
		if class[s[i]]&clName == 0 {
			return false
		}
	}
	return class[s[0]]&clNameStart != 0
}

func isWideNCName(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for i, r := range s {
		if i == 0 && !isNameStart(r) || !isNameChar(r) {
			return false
		}
	}
	return true
}
