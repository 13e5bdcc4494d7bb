package xmlstream

import (
	"strings"
	"unicode/utf8"
)

// top1 reads what stands at the top level of a stream or document, where data begins with no white space. It is called
// again with more of the same data where it was short.
func (s *scanner) top1(data []byte, at place) (int, fault) {
	if s.kind == unknown {
		kind, f := begin(data, at)
		if f != okay {
			return 0, f
		}
		s.kind = kind
	}
	switch s.kind {
	case byteOrder:
		return len("\uFEFF"), okay
	case declaration:
		return s.declaration(data)
	case header:
		return s.markup(data, 0)
	case closing:
		return s.closing(data)
	}
	return s.element(data)
}

// begin tells what data begins with.
func begin(data []byte, at place) (tokenKind, fault) {
	fresh := at < inProlog
	stray := faultProlog // what character data is here
	switch at {
	case inStream:
		stray = faultBetween
	case afterEnd:
		return 0, faultTrailing
	}
	if b := data[0]; b != '<' {
		if fresh && b == 0 {
			return 0, faultEncoding // UTF-16 or UTF-32, the high byte first
		}
		if b < utf8.RuneSelf {
			if isChar(rune(b)) {
				return 0, stray
			}
			return 0, faultChar
		}
		n, f := wide(data)
		if f != okay {
			return 0, f
		}
		if fresh && at != afterMark && string(data[:n]) == "\uFEFF" {
			return byteOrder, okay
		}
		return 0, stray
	}
	if len(data) < 2 {
		return 0, short
	}
	switch data[1] {
	case 0:
		if fresh {
			return 0, faultEncoding // the low byte first
		}
	case '?':
		if !fresh {
			return 0, faultRestricted
		}
		return declaration, okay
	case '!':
		if len(data) < 3 {
			return 0, short
		}
		switch data[2] {
		case '-', 'D':
			return 0, faultRestricted
		case '[':
			return 0, stray
		}
		return 0, faultSyntax
	case '/':
		if at != inStream {
			return 0, faultSyntax
		}
		return closing, okay
	}
	if at == inStream {
		return element, okay
	}
	return header, okay
}

// closing reads the stream's end tag.
func (s *scanner) closing(data []byte) (int, fault) {
	if f := s.tagDone(data, 0); f != okay {
		return 0, f
	}
	end := s.probe + 1
	i := 2 + len(s.scope.qname)
	if i >= end || string(data[2:i]) != s.scope.qname {
		return 0, faultEndTag
	}
	for ; i < end-1; i++ {
		if !isSpace(data[i]) {
			return 0, faultEndTag
		}
	}
	return end, okay
}

// declaration reads <?xml version='1.0' encoding='UTF-8' standalone='yes'?> (XML 1.0 §2.8).
func (s *scanner) declaration(data []byte) (int, fault) {
	const opening = "<?xml"
	for k := 2; k < len(opening); k++ {
		if k >= len(data) {
			return 0, short
		}
		if data[k] != opening[k] {
			return 0, faultRestricted
		}
	}
	i := len(opening)
	if i >= len(data) {
		return 0, short
	}
	if !isSpace(data[i]) {
		if data[i] == '?' {
			return 0, faultDecl
		}
		return 0, faultRestricted // another target: a processing instruction
	}
	if f := s.tagDone(data, 0); f != okay {
		return 0, f
	}
	end := s.probe + 1
	data = data[:end]
	next := 0
	for {
		gap := i
		for isSpace(data[i]) { // ends at '>' at the latest
			i++
		}
		if string(data[i:]) == "?>" {
			break
		}
		var a rawAttr
		var f fault
		if i == gap {
			return 0, faultDecl
		}
		if i, f = s.attribute(data, i, &a); f != okay || i >= end {
			return 0, faultDecl
		}
		if next, f = pseudoAttr(string(data[a.name:a.nameEnd]), string(data[a.val:a.valEnd]), next); f != okay {
			return 0, f
		}
	}
	if next == 0 {
		return 0, faultDecl
	}
	return end, okay
}

// pseudoAttr checks a part of the XML declaration and returns what may follow it: 1 encoding, 2 standalone, 3 nothing.
func pseudoAttr(name, value string, next int) (int, fault) {
	switch {
	case name == "version" && next == 0:
		if len(value) < 3 || value[:2] != "1." {
			return 0, faultDecl
		}
		for i := 2; i < len(value); i++ {
			if value[i] < '0' || value[i] > '9' {
				return 0, faultDecl
			}
		}
		return 1, okay
	case name == "encoding" && next == 1:
		if !isEncName(value) {
			return 0, faultDecl
		}
		if !isUTF8(value) {
			return 0, faultEncoding
		}
		return 2, okay
	case name == "standalone" && (next == 1 || next == 2) && (value == "yes" || value == "no"):
		return 3, okay
	}
	return 0, faultDecl
}

// isEncName follows XML 1.0 §4.3.3.
func isEncName(s string) bool {
	for i := 0; i < len(s); i++ {
		if b := s[i]; b >= utf8.RuneSelf || class[b]&clName == 0 {
			return false
		}
	}
	return s != "" && class[s[0]]&clNameStart != 0 && s[0] != '_'
}

// isUTF8 compares without regard to case, as XML 1.0 §4.3.3 recommends.
func isUTF8(s string) bool {
	const want = "utf-8"
	if len(s) != len(want) {
		return false
	}
	for i := range len(want) {
		if s[i] != want[i] && (s[i] < 'A' || s[i] > 'Z' || s[i]+'a'-'A' != want[i]) {
			return false
		}
	}
	return true
}

// header makes a Header of the start tag that s read.
func (s *scanner) header(data []byte) *Header {
	raw := string(data)
	h := &Header{
		Prefix:    string(s.top.prefix(data)),
		Name:      Name{s.str(raw, s.topNS), raw[s.top.local:s.top.nameEnd]},
		DefaultNS: s.str(raw, s.topDef),
	}
	for i := range s.attrs {
		a := &s.attrs[i]
		switch a.kind {
		case attrPlain:
			var r Attr
			s.attr(raw, data, a, &r)
			h.Attrs = append(h.Attrs, r)
		case attrPrefix:
			h.Decls = append(h.Decls, s.decl(raw, data, a))
		}
	}
	return h
}

// decl makes a Decl of xmlns:p='…'.
func (s *scanner) decl(src string, data []byte, a *rawAttr) Decl {
	plain := *a
	plain.name = a.local
	var r Attr
	s.attr(src, data, &plain, &r)
	return Decl{r.Name.Local, r.Value}
}

// commonScopes are those that nearly all streams have; sharing them keeps idle decoders small.
var commonScopes = [...]*scope{
	streamScope("jabber:client"), streamScope("jabber:server"), streamScope("jabber:component:accept"),
}

func streamScope(def string) *scope {
	return &scope{name: Name{NSStream, "stream"}, qname: "stream:stream", def: def, decls: []Decl{{"stream", NSStream}}}
}

func newScope(h *Header) *scope {
	if h.Prefix == "stream" && h.Name == (Name{NSStream, "stream"}) && len(h.Decls) == 1 {
		for _, c := range commonScopes {
			if c.def == h.DefaultNS {
				return c
			}
		}
	}
	c := &scope{ // copies, since the header's strings share its memory
		name:  Name{strings.Clone(h.Name.Space), strings.Clone(h.Name.Local)},
		qname: strings.Clone(h.Name.Local),
		def:   strings.Clone(h.DefaultNS),
	}
	if h.Prefix != "" {
		c.qname = h.Prefix + ":" + h.Name.Local
	}
	for _, d := range h.Decls {
		c.decls = append(c.decls, Decl{strings.Clone(d.Prefix), strings.Clone(d.URI)})
	}
	return c
}

// document reads data as one document and returns the scanner that read its root element, which is
// data[start:end] and whose offsets count from start, with a tree if asked for.
func document(data string, l Limits, tree bool) (s *scanner, start, end int, err *Error) {
	l = l.orDefault()
	if len(data) > l.Bytes {
		return nil, 0, 0, faultBytes.at(int64(l.Bytes))
	}
	s = newScanner(l, nil)
	at := atStart
	for {
		if n := spaces(data[start:]); n > 0 {
			start += n
			at = max(at, inProlog)
		}
		if start == len(data) {
			s.free()
			return nil, 0, 0, faultEnd.at(int64(start))
		}
		rest := bytesOf(data[start:])
		kind, f := begin(rest, at)
		if f == okay && kind == header {
			kind = element
			if tree {
				s.wantTree, s.tree.src = true, data[start:]
			}
		}
		s.kind = kind
		if f == okay {
			end, f = s.top1(rest, at)
		}
		if f == short {
			f = faultEnd
		}
		if f != okay {
			err = f.at(int64(start + s.pos))
			s.free()
			return nil, 0, 0, err
		}
		end += start
		if kind == element {
			break
		}
		if at = inProlog; kind == byteOrder {
			at = afterMark
		}
		start = end
		s.rewind()
	}
	if n := spaces(data[end:]); end+n < len(data) {
		s.free()
		return nil, 0, 0, faultTrailing.at(int64(end + n))
	}
	return s, start, end, nil
}

func spaces(s string) int {
	n := 0
	for n < len(s) && isSpace(s[n]) {
		n++
	}
	return n
}
