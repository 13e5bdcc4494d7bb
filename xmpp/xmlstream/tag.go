package xmlstream

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
	"unicode/utf8"
)

// attrKind tells declarations from attributes.
type attrKind uint8

const (
	attrPlain   attrKind = iota
	attrDefault          // xmlns='…'
	attrPrefix           // xmlns:p='…'
)

// rawAttr is an attribute as it stands in a start tag, by offsets. Where there is no prefix, local is name.
type rawAttr struct {
	name, local, nameEnd uint32
	val, valEnd          uint32
	kind                 attrKind
	esc                  bool // the value holds a reference, or white space other than U+0020
}

func (a *rawAttr) prefix(data []byte) []byte {
	if a.local == a.name {
		return nil
	}
	return data[a.name : a.local-1]
}

// rawTag is what startTag read.
type rawTag struct {
	name, local, nameEnd uint32
	end                  int  // the offset after '>'
	empty                bool // <a/>
	decls                int  // number of namespace declarations
	prefixed             int  // number of attributes with a prefix, declarations not counted
}

func (t *rawTag) prefix(data []byte) []byte {
	if t.local == t.name {
		return nil
	}
	return data[t.name : t.local-1]
}

// qname scans the qualified name at i. It returns where its local part begins and where it ends, which is the same where
// no name stands. A second colon ends it, and no caller has use for one there.
func qname(data []byte, i int) (local, end int) {
	local = i
	for i < len(data) && class[data[i]]&clName != 0 {
		i++
	}
	if i < len(data) && (data[i] == ':' || data[i] >= utf8.RuneSelf) {
		return prefixed(data, local)
	}
	if i > local && class[data[local]]&clNameStart == 0 {
		return local, local
	}
	return local, i
}

// prefixed is qname for names with a colon or beyond ASCII.
func prefixed(data []byte, i int) (local, end int) {
	end = ncname(data, i)
	if end == i || end >= len(data) || data[end] != ':' {
		return i, end
	}
	local = end + 1
	return local, ncname(data, local)
}

// ncname returns where the name without a colon at start ends.
func ncname(data []byte, start int) int {
	i := start
	for i < len(data) && class[data[i]]&clName != 0 {
		i++
	}
	if i < len(data) && data[i] >= utf8.RuneSelf {
		return wideName(data, start)
	}
	if i > start && class[data[start]]&clNameStart == 0 {
		return start
	}
	return i
}

// wideName is ncname for names beyond ASCII. It stops before a byte that is not UTF-8.
func wideName(data []byte, start int) int {
	i := start
	for i < len(data) {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n <= 1 || !isNameChar(r) || i == start && !isNameStart(r) {
			break
		}
		i += n
	}
	return i
}

// startTag reads the start tag at data[at] into t and its attributes onto s.attrs. It checks the grammar, not the
// namespaces. Where it returns a fault the input may merely end within the tag: see tagDone.
func (s *scanner) startTag(data []byte, at int, t *rawTag) fault {
	i := at + 1
	local, end := qname(data, i)
	if end == local {
		return faultSyntax
	}
	if end-i > s.lim.Name {
		return faultName
	}
	*t = rawTag{name: uint32(i), local: uint32(local), nameEnd: uint32(end)}
	i = end
	for room := s.lim.Attrs; ; room-- {
		gap := i
		for i < len(data) && isSpace(data[i]) {
			i++
		}
		if i >= len(data) {
			return faultSyntax
		}
		switch data[i] {
		case '>':
			t.end = i + 1
			return okay
		case '/':
			if i+1 >= len(data) || data[i+1] != '>' {
				return faultSyntax
			}
			t.end, t.empty = i+2, true
			return okay
		}
		if i == gap {
			return faultSyntax
		}
		if room == 0 {
			return faultAttrs
		}
		n := len(s.attrs)
		if n == cap(s.attrs) {
			s.attrs = slices.Grow(s.attrs, 8)
		}
		s.attrs = s.attrs[:n+1]
		a := &s.attrs[n]
		var f fault
		if i, f = s.attribute(data, i, a); f != okay {
			return f
		}
		if a.kind != attrPlain {
			t.decls++
		} else if a.local != a.name {
			t.prefixed++
		}
	}
}

// attribute reads one attribute and returns where it ends.
func (s *scanner) attribute(data []byte, i int, a *rawAttr) (int, fault) {
	local, end := qname(data, i)
	if end == local {
		return i, faultSyntax
	}
	if end-i > s.lim.Name {
		return i, faultName
	}
	*a = rawAttr{name: uint32(i), local: uint32(local), nameEnd: uint32(end)}
	if data[i] == 'x' { // xmlns or xmlns:p
		if local == i {
			if string(data[i:end]) == "xmlns" {
				a.kind = attrDefault
			}
		} else if string(data[i:local]) == "xmlns:" {
			a.kind = attrPrefix
		}
	}
	i = end
	for i < len(data) && isSpace(data[i]) {
		i++
	}
	if i >= len(data) || data[i] != '=' {
		return i, faultSyntax
	}
	i++
	for i < len(data) && isSpace(data[i]) {
		i++
	}
	if i >= len(data) || data[i] != '\'' && data[i] != '"' {
		return i, faultSyntax
	}
	quote := data[i]
	i++
	a.val = uint32(i)
	for {
		i = plainValue(data, i)
		if i >= len(data) {
			return i, faultSyntax
		}
		if data[i] == quote {
			a.valEnd = uint32(i)
			return i + 1, okay
		}
		next, f := specialValue(data, i, a)
		if f != okay {
			return i, f
		}
		i = next
	}
}

// plainValue skips what needs no look in an attribute value, eight bytes at a time.
func plainValue(data []byte, i int) int {
	for i+8 <= len(data) {
		w := binary.LittleEndian.Uint64(data[i:])
		// " & ' and # become the same with two bits set.
		stop := w | (w - ones*0x20) | zeroes(w|ones*5^ones*'\'') | zeroes(w^ones*'<')
		if stop &= highs; stop == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(stop) >> 3
		if class[data[i]]&clAttrStop != 0 {
			return i
		}
		i++
	}
	for i < len(data) && class[data[i]]&clAttrStop == 0 {
		i++
	}
	return i
}

// specialValue goes past what plainValue stopped at, unless it is the closing quote.
func specialValue(data []byte, i int, a *rawAttr) (int, fault) {
	switch b := data[i]; {
	case b == '\'' || b == '"':
		return i + 1, okay
	case b == '\t' || b == '\n' || b == '\r':
		a.esc = true
		return i + 1, okay
	case b == '&':
		a.esc = true
		_, next, f := reference(data, i)
		return next, f
	case b >= utf8.RuneSelf:
		return wideRun(data, i)
	case b == '<':
		return i, faultSyntax
	}
	return i, faultChar
}

// wideRun goes past characters beyond ASCII. With a fault it returns where that stands.
func wideRun(data []byte, i int) (int, fault) {
	for i < len(data) && data[i] >= utf8.RuneSelf {
		switch b := data[i]; {
		case b >= 0xC2 && b < 0xE0 && i+1 < len(data) && data[i+1]&0xC0 == 0x80:
			i += 2
		case b > 0xE0 && b < 0xED && i+2 < len(data) && data[i+1]&0xC0 == 0x80 && data[i+2]&0xC0 == 0x80:
			i += 3
		default:
			n, f := wide(data[i:])
			if f != okay {
				return i, f
			}
			i += n
		}
	}
	return i, okay
}

// wide returns the length of the character beyond ASCII that data begins with.
func wide(data []byte) (int, fault) {
	r, n := utf8.DecodeRune(data)
	switch {
	case r == utf8.RuneError && n <= 1:
		if !utf8.FullRune(data) {
			return 0, short
		}
		return 0, faultUTF8
	case r == 0xFFFE || r == 0xFFFF:
		return 0, faultChar
	}
	return n, okay
}

// reference reads the entity or character reference at data[at] (XML 1.0 §4.1) and returns its character and where it
// ends. It is short where the input ends before that is decided.
func reference(data []byte, at int) (r rune, next int, f fault) {
	i := at + 1
	for i < len(data) && class[data[i]]&clRef != 0 {
		i++
	}
	if i >= len(data) {
		return 0, 0, short
	}
	if b := data[i]; b >= utf8.RuneSelf { // in no predefined entity
		n, f := wide(data[i:])
		if f != okay {
			return 0, 0, f
		}
		if r, _ := utf8.DecodeRune(data[i : i+n]); isNameStart(r) && i == at+1 || isNameChar(r) && class[data[at+1]]&clNameStart != 0 {
			return 0, 0, faultEntity
		}
		return 0, 0, faultRef
	}
	if data[i] != ';' {
		return 0, 0, faultRef
	}
	name := data[at+1 : i]
	next = i + 1
	switch string(name) {
	case "amp":
		return '&', next, okay
	case "lt":
		return '<', next, okay
	case "gt":
		return '>', next, okay
	case "quot":
		return '"', next, okay
	case "apos":
		return '\'', next, okay
	}
	if len(name) > 1 && name[0] == '#' {
		if r, ok := charRef(name[1:]); ok {
			return r, next, okay
		}
		return 0, 0, faultRef
	}
	if isNCName(string(name)) {
		return 0, 0, faultEntity
	}
	return 0, 0, faultRef
}

// charRef decodes 65 or x41. Leading zeros are legal in any number.
func charRef(digits []byte) (rune, bool) {
	base, n := uint32(10), uint32(0)
	if digits[0] == 'x' {
		base, digits = 16, digits[1:]
	}
	if len(digits) == 0 {
		return 0, false
	}
	for _, b := range digits {
		d := uint32(math.MaxUint32)
		switch {
		case b >= '0' && b <= '9':
			d = uint32(b - '0')
		case b >= 'a' && b <= 'f':
			d = uint32(b-'a') + 10
		case b >= 'A' && b <= 'F':
			d = uint32(b-'A') + 10
		}
		if d >= base {
			return 0, false
		}
		if n = n*base + d; n > utf8.MaxRune {
			return 0, false
		}
	}
	return rune(n), isChar(rune(n))
}

// tagEnd goes on from i to find the '>' that ends a tag outside quotes, or a '<', which may stand nowhere in one. quote
// is the quote that is open at i, or 0. It returns len(data) where neither is there.
func tagEnd(data []byte, i int, quote byte) (int, byte) {
	for ; i < len(data); i++ {
		switch b := data[i]; b {
		case '<':
			return i, quote
		case '>':
			if quote == 0 {
				return i, 0
			}
		case '\'', '"':
			switch quote {
			case 0:
				quote = b
			case b:
				quote = 0
			}
		}
	}
	return i, quote
}

// incompleteRune returns the length of the beginning of a character at the end of data, which more input may complete.
func incompleteRune(data []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(data); n++ {
		if utf8.RuneStart(data[len(data)-n]) {
			if utf8.FullRune(data[len(data)-n:]) {
				return 0
			}
			return n
		}
	}
	return 0
}
