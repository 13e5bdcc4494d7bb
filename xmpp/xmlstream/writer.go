package xmlstream

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// replacement stands where a string holds what XML forbids. It is itself a legal character of text and of names.
const replacement = "\uFFFD"

// Append appends e as it is written at a place where the default namespace is ns: xmlns stands only where the namespace
// changes. Attributes of a namespace get a prefix: xml: for NSXML, otherwise one declared in place.
//
// The output is well formed whatever the strings of the tree hold. Characters that XML forbids, in names too, become
// U+FFFD; of attributes with the same name the first is written; attributes that would be namespace declarations
// (xmlns, or the namespace NSXMLNS) are left out; an element in NSXMLNS, which nothing can declare, is written without a
// namespace. Append on nil appends nothing.
func (e *Element) Append(dst []byte, ns string) []byte {
	if e == nil {
		return dst
	}
	local := e.Name.Local
	if !isNCName(local) {
		local = cleanName(local)
	}
	prefix, space := "", e.Name.Space
	dst = append(dst, '<')
	switch space {
	case ns:
	case NSXML: // cannot be a default namespace (Namespaces in XML 1.0 §3)
		prefix, space = "xml:", ns
	case NSXMLNS:
		space = ""
	}
	dst = append(append(dst, prefix...), local...)
	if space != ns {
		dst = append(AppendAttr(append(dst, " xmlns='"...), space), '\'')
	}
	if len(e.Attrs) > 0 {
		dst = appendAttrs(dst, e.Attrs)
	}
	start := len(dst)
	dst = append(dst, '>')
	for i := range e.Nodes {
		switch n := &e.Nodes[i]; {
		case n.El == nil:
			dst = AppendText(dst, n.Text)
		case n.Text != "":
			dst = append(dst, n.Text...)
		default:
			dst = n.El.Append(dst, space)
		}
	}
	if len(dst) == start+1 {
		return append(dst[:start], "/>"...)
	}
	dst = append(append(dst, "</"...), prefix...)
	return append(append(dst, local...), '>')
}

func appendAttrs(dst []byte, attrs []Attr) []byte {
	for i := range attrs {
		a := &attrs[i]
		if a.Name.Space == NSXMLNS || a.Name.Space == "" && a.Name.Local == "xmlns" || repeated(attrs[:i], a.Name) {
			continue
		}
		local := a.Name.Local
		if !isNCName(local) {
			local = cleanName(local)
		}
		switch a.Name.Space {
		case "":
			dst = append(dst, ' ')
		case NSXML:
			dst = append(dst, " xml:"...)
		default:
			dst = append(strconv.AppendInt(append(dst, " xmlns:n"...), int64(i), 10), "='"...)
			dst = append(AppendAttr(dst, a.Name.Space), '\'')
			dst = append(strconv.AppendInt(append(dst, " n"...), int64(i), 10), ':')
		}
		dst = append(append(dst, local...), "='"...)
		dst = append(AppendAttr(dst, a.Value), '\'')
	}
	return dst
}

// repeated tells whether one of the attributes before is written under the same name. Two names that differ only in what
// is replaced are the same once written.
func repeated(before []Attr, n Name) bool {
	for i := range before {
		b := before[i].Name
		if b == n {
			return true
		}
		if (b.Space != "" || n.Space != "" || !isNCName(b.Local) || !isNCName(n.Local)) &&
			clean(b.Space) == clean(n.Space) && cleanName(b.Local) == cleanName(n.Local) {
			return true
		}
	}
	return false
}

// AppendText appends s as character data: & < > as entities, a carriage return as a character reference, since a bare
// one is read as a newline (XML 1.0 §2.11), and U+FFFD for each byte or character that XML forbids.
func AppendText(dst []byte, s string) []byte { return appendEscaped(dst, s, clEscText) }

// AppendAttr appends s as the inside of an attribute value, fit for either kind of quote: what AppendText escapes, the
// quotes, and white space other than U+0020 as character references, since it is read as U+0020 (XML 1.0 §3.3.3).
func AppendAttr(dst []byte, s string) []byte { return appendEscaped(dst, s, clEscAttr) }

func appendEscaped(dst []byte, s string, mask uint8) []byte {
	last := 0
	for i := 0; i < len(s); {
		b := s[i]
		if class[b]&mask == 0 {
			if i++; mask == clEscText { // the bytes that plainText stops at are the same
				i = plainText(bytesOf(s), i)
			}
			continue
		}
		n, by := 1, replacement
		switch b {
		case '&':
			by = "&amp;"
		case '<':
			by = "&lt;"
		case '>':
			by = "&gt;"
		case '\'':
			by = "&apos;"
		case '"':
			by = "&quot;"
		case '\t':
			by = "&#x9;"
		case '\n':
			by = "&#xA;"
		case '\r':
			by = "&#xD;"
		default:
			if b >= utf8.RuneSelf {
				var r rune
				if r, n = utf8.DecodeRuneInString(s[i:]); isChar(r) && (r != utf8.RuneError || n > 1) {
					i += n
					continue
				}
			}
		}
		dst = append(append(dst, s[last:i]...), by...)
		i += n
		last = i
	}
	return append(dst, s[last:]...)
}

// clean returns s as AppendText would let it be read back: with U+FFFD for what XML forbids.
func clean(s string) string {
	for i := 0; i < len(s); i++ {
		if b := s[i]; b >= utf8.RuneSelf || !isChar(rune(b)) {
			return strings.Map(func(r rune) rune {
				if !isChar(r) {
					return utf8.RuneError
				}
				return r
			}, s)
		}
	}
	return s
}

// cleanName returns s with U+FFFD for each character that a name may not hold there, so that it is a name without a
// colon.
func cleanName(s string) string {
	if s == "" {
		return replacement
	}
	first := true
	return strings.Map(func(r rune) rune {
		ok := isNameChar(r)
		if first {
			ok, first = isNameStart(r), false
		}
		if !ok {
			return utf8.RuneError
		}
		return r
	}, s)
}
