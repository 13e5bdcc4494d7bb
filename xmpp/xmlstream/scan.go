package xmlstream

import (
	"math"
	"slices"
	"sync"
	"unicode/utf8"
)

// span is a string that stands either in the scanned bytes or, where it had to be unescaped or comes from elsewhere, in
// str. Offsets outlive a move of the bytes, which slices of them would not.
type span struct {
	off, end uint32
	str      string
}

func (p span) in(data []byte) string {
	if p.str != "" {
		return p.str
	}
	return string(data[p.off:p.end])
}

// is compares without making a string.
func (p span) is(data []byte, q span) bool {
	switch {
	case p.str != "" && q.str != "":
		return p.str == q.str
	case p.str != "":
		return p.str == string(data[q.off:q.end])
	case q.str != "":
		return q.str == string(data[p.off:p.end])
	}
	return string(data[p.off:p.end]) == string(data[q.off:q.end])
}

// binding is a namespace declaration in force. The default namespace has an empty prefix.
type binding struct {
	prefix, prefixEnd uint32
	uri               span
}

// scope is what an element inherits from outside: the stream header's namespaces.
type scope struct {
	name  Name
	qname string // of the stream header, for the end tag
	def   string
	decls []Decl
}

// open is an element whose end tag is awaited.
type open struct {
	name, nameEnd uint32
	binds         uint32 // how many bindings were in force outside
}

// kid is a child element of the top-level element, by offsets. Where nsEnd is inStrs, its namespace is strs[ns].
type kid struct {
	start, end    uint32
	name, nameEnd uint32 // the local part
	ns, nsEnd     uint32
}

const inStrs = math.MaxUint32

// scanner reads one top-level element. It may be called again with more bytes of it, wherever they now lie, and goes on
// where it stopped. What it finds does not depend on where the input was cut: a tag is judged when it is complete, the
// encoding within it before anything else.
type scanner struct {
	lim   Limits
	scope *scope // nil for none

	kind  tokenKind // used by the decoder
	pos   int       // what lies before is read
	probe int       // within an incomplete token at pos: what lies before was looked at; 0 for none
	valid int       // within an incomplete tag at pos: UTF-8 up to here
	quote byte      // within an incomplete tag: the quote open at probe
	cdata int       // where the content of the open CDATA section begins; 0 for none

	elements int
	stack    []open
	binds    []binding
	attrs    []rawAttr // of the top-level element first, then of the tag just read
	ntop     int       // the former's number
	kids     []kid
	strs     []string
	top      rawTag
	innerEnd int

	hasText  bool  // character data other than white space directly within the top-level element
	hasCDATA bool  // anywhere
	leaned   []int // declarations of scope that prefixes lean on

	tree *builder // where a tree is wanted
	own  scope    // space for a scope of the scanner's own
	buf  []byte   // the decoder keeps an incomplete element here
}

var scanners = sync.Pool{New: func() any { return new(scanner) }}

// What a pooled scanner may keep of its memory. Larger slices are left to the collector, so that one large element does
// not stay for ever.
const (
	keepBytes = 64 << 10
	keepItems = 512
)

func newScanner(l Limits, in *scope) *scanner {
	s := scanners.Get().(*scanner)
	s.lim, s.scope = l, in
	return s
}

// free gives s back. No slice of s may be in use.
func (s *scanner) free() {
	s.rewind()
	s.scope, s.own = nil, scope{}
	if cap(s.buf) > keepBytes {
		s.buf = nil
	}
	if cap(s.kids) > keepItems {
		s.kids = nil
	}
	if cap(s.attrs) > keepItems {
		s.attrs = nil
	}
	if cap(s.stack) > keepItems {
		s.stack = nil
	}
	if cap(s.binds) > keepItems {
		s.binds = nil
	}
	if cap(s.strs) > keepItems {
		s.strs = nil
	}
	s.buf = s.buf[:0]
	scanners.Put(s)
}

// rewind forgets what was read, but not the bytes kept.
func (s *scanner) rewind() {
	s.kind, s.pos, s.probe, s.valid, s.quote, s.cdata = 0, 0, 0, 0, 0, 0
	s.elements, s.ntop, s.innerEnd = 0, 0, 0
	s.hasText, s.hasCDATA = false, false
	clear(s.binds)
	clear(s.strs)
	s.stack, s.binds, s.attrs, s.kids, s.strs = s.stack[:0], s.binds[:0], s.attrs[:0], s.kids[:0], s.strs[:0]
	s.leaned, s.tree = s.leaned[:0], nil
}

// element goes on reading the element and returns where it ends, or short, or what is wrong at s.pos.
func (s *scanner) element(data []byte) (int, fault) {
	i := s.pos
	for {
		var f fault
		switch {
		case s.cdata > 0:
			i, f = s.section(data, i)
		case i >= len(data):
			f = short
		case data[i] != '<':
			i, f = s.text(data, i)
		default:
			i, f = s.markup(data, i)
			if f == okay && len(s.stack) == 0 {
				s.pos = i
				return i, okay
			}
		}
		if f != okay {
			s.pos = i
			return 0, f
		}
	}
}

// markup reads what begins with the '<' at data[at]. With a fault it returns at.
func (s *scanner) markup(data []byte, at int) (int, fault) {
	if s.probe > 0 {
		if f := s.tagDone(data, at); f != okay {
			return at, f
		}
	}
	if at+1 >= len(data) {
		return at, short
	}
	var next int
	var f fault
	switch data[at+1] {
	case '/':
		next, f = s.endTag(data, at)
	case '!':
		next, f = s.bang(data, at)
		if f != okay {
			return at, f
		}
	case '?':
		return at, faultRestricted
	default:
		next, f = s.open(data, at)
	}
	if f != okay {
		if g := s.tagDone(data, at); g != okay {
			return at, g
		}
		if f == short {
			f = faultSyntax
		}
		return at, f
	}
	s.probe, s.valid, s.quote = 0, 0, 0
	return next, okay
}

// tagDone tells whether the tag at data[at] is complete: okay, short, or what makes it hopeless. It remembers how far it
// looked, so that a tag that comes byte by byte is looked at once.
func (s *scanner) tagDone(data []byte, at int) fault {
	from := max(s.probe, at+1)
	end, quote := tagEnd(data, from, s.quote)
	complete := end < len(data)
	check := data[max(s.valid, at+1):end]
	tail := 0
	if !complete {
		tail = incompleteRune(check)
	}
	if !utf8.Valid(check[:len(check)-tail]) {
		return faultUTF8
	}
	s.probe, s.quote, s.valid = end, quote, end-tail
	switch {
	case !complete:
		return short
	case data[end] == '<':
		return faultSyntax
	}
	return okay
}

// bang reads <![CDATA[ and nothing else: comments and document types are restricted (RFC 6120 §11.1).
func (s *scanner) bang(data []byte, at int) (int, fault) {
	const opening = "<![CDATA["
	for k := 2; k < len(opening); k++ {
		if at+k >= len(data) {
			return at, short
		}
		switch b := data[at+k]; {
		case b == opening[k]:
		case k == 2 && (b == '-' || b == 'D'):
			return at, faultRestricted
		case b >= utf8.RuneSelf:
			if _, f := wide(data[at+k:]); f != okay {
				return at, f
			}
			return at, faultSyntax
		default:
			return at, faultSyntax
		}
	}
	s.cdata = at + len(opening)
	s.hasCDATA = true
	if s.tree != nil {
		s.tree.dirty = true
	}
	return s.cdata, okay
}

// section goes on in a CDATA section and returns where it ends.
func (s *scanner) section(data []byte, i int) (int, fault) {
	for {
		for i < len(data) && class[data[i]]&clTextStop == 0 {
			s.hasText = s.hasText || len(s.stack) == 1 && !isSpace(data[i])
			i++
		}
		if i >= len(data) {
			return i, short
		}
		switch b := data[i]; {
		case b == '>' && i >= s.cdata+2 && data[i-1] == ']' && data[i-2] == ']':
			s.cdata = 0
			return i + 1, okay
		case b == '\r':
			i++
		case b == '<', b == '>', b == '&':
			s.hasText = s.hasText || len(s.stack) == 1
			i++
		case b >= utf8.RuneSelf:
			n, f := wide(data[i:])
			if f != okay {
				return i, f
			}
			s.hasText = s.hasText || len(s.stack) == 1
			i += n
		default:
			return i, faultChar
		}
	}
}

// text reads character data up to the next '<'.
func (s *scanner) text(data []byte, i int) (int, fault) {
	look := len(s.stack) == 1 && !s.hasText
	for {
		if look {
			for i < len(data) && class[data[i]]&(clSpace|clTextStop) == clSpace {
				i++
			}
			if i < len(data) && data[i] != '<' && data[i] != '&' && data[i] != '\r' {
				s.hasText, look = true, false
			}
		}
		i = plainText(data, i)
		if i >= len(data) {
			return i, short
		}
		switch b := data[i]; {
		case b == '<':
			return i, okay
		case b == '&':
			next, r, f := s.textRef(data, i)
			if f != okay {
				return i, f
			}
			if look && !(r < utf8.RuneSelf && isSpace(byte(r))) {
				s.hasText, look = true, false
			}
			i = next
		case b == '>':
			if i >= 2 && data[i-1] == ']' && data[i-2] == ']' { // XML 1.0 §2.4
				return i, faultText
			}
			i++
		case b == '\r':
			if s.tree != nil {
				s.tree.dirty = true
			}
			i++
		case b >= utf8.RuneSelf:
			n, f := wide(data[i:])
			if f != okay {
				return i, f
			}
			i += n
		default:
			return i, faultChar
		}
	}
}

// textRef reads a reference in character data. Leading zeros make references of any length, so an incomplete one is
// looked at once too.
func (s *scanner) textRef(data []byte, at int) (int, rune, fault) {
	if s.probe > 0 {
		i := s.probe
		for i < len(data) && class[data[i]]&clRef != 0 {
			i++
		}
		if i >= len(data) {
			s.probe = i
			return at, 0, short
		}
	}
	r, next, f := reference(data, at)
	if f == short {
		s.probe = len(data)
	} else {
		s.probe = 0
	}
	if s.tree != nil {
		s.tree.dirty = true
	}
	return next, r, f
}

// plainText skips what needs no look in character data.
func plainText(data []byte, i int) int {
	for i < len(data) && class[data[i]]&clTextStop == 0 {
		i++
	}
	return i
}

// open reads the start tag at data[at].
func (s *scanner) open(data []byte, at int) (int, fault) {
	depth := len(s.stack)
	s.attrs = s.attrs[:s.ntop]
	var t rawTag
	if f := s.startTag(data, at, &t); f != okay {
		return at, f
	}
	if depth >= s.lim.Depth {
		return at, faultDepth
	}
	if depth > 0 {
		if s.elements++; s.elements > s.lim.Children {
			return at, faultElements
		}
	}
	outside := uint32(len(s.binds))
	attrs := s.attrs[s.ntop:]
	if t.decls > 0 {
		if f := s.declare(data, attrs); f != okay {
			return at, f
		}
	}
	if len(attrs) > 1 || t.prefixed > 0 {
		if f := s.checkAttrs(data, attrs, t.prefixed); f != okay {
			return at, f
		}
	}
	var ns span
	if t.local != t.name || depth < 2 || s.tree != nil {
		var ok bool
		if ns, ok = s.lookup(data, t.prefix(data)); !ok {
			return at, faultPrefix
		}
	}
	switch depth {
	case 0:
		s.top, s.ntop = t, len(s.attrs)
		if s.scope != nil && s.scope.name.Local == string(data[t.local:t.nameEnd]) && s.scope.name.Space == ns.in(data) {
			return at, faultSecond
		}
	case 1:
		s.addKid(data, at, &t, ns)
	}
	if s.tree != nil {
		s.tree.start(s, data, at, &t, ns)
	}
	if !t.empty {
		s.stack = append(s.stack, open{t.name, t.nameEnd, outside})
		return t.end, okay
	}
	s.closed(t.end, t.end, outside)
	if s.tree != nil {
		s.tree.end(t.end)
	}
	return t.end, okay
}

// endTag reads the end tag at data[at].
func (s *scanner) endTag(data []byte, at int) (int, fault) {
	o := s.stack[len(s.stack)-1]
	i := at + 2 + int(o.nameEnd-o.name)
	if i >= len(data) || string(data[at+2:i]) != string(data[o.name:o.nameEnd]) {
		return at, faultEndTag
	}
	for data[i] != '>' {
		if !isSpace(data[i]) {
			return at, faultEndTag
		}
		if i++; i >= len(data) {
			return at, short
		}
	}
	i++
	s.stack = s.stack[:len(s.stack)-1]
	s.closed(at, i, o.binds)
	if s.tree != nil {
		s.tree.text(data, at)
		s.tree.end(i)
	}
	return i, okay
}

// closed notes that an element ended, its content at inner and it itself at end.
func (s *scanner) closed(inner, end int, outside uint32) {
	switch len(s.stack) {
	case 0:
		s.innerEnd = inner // its bindings stay: the frame is made of them
		return
	case 1:
		s.kids[len(s.kids)-1].end = uint32(end)
	}
	if int(outside) < len(s.binds) {
		clear(s.binds[outside:])
		s.binds = s.binds[:outside]
	}
}

func (s *scanner) addKid(data []byte, at int, t *rawTag, ns span) {
	k := kid{start: uint32(at), name: t.local, nameEnd: t.nameEnd, ns: ns.off, nsEnd: ns.end}
	if ns.str != "" || ns.end == 0 {
		if n := len(s.strs); n == 0 || s.strs[n-1] != ns.str {
			s.strs = append(s.strs, ns.str)
		}
		k.ns, k.nsEnd = uint32(len(s.strs)-1), inStrs
	}
	if len(s.kids) == cap(s.kids) && len(s.kids) >= keepItems {
		s.kids = slices.Grow(s.kids, max(1, min(len(s.kids), s.lim.Children-len(s.kids))))
	}
	s.kids = append(s.kids, k)
}

// declare puts the declarations of a tag in force (Namespaces in XML 1.0 §3).
func (s *scanner) declare(data []byte, attrs []rawAttr) fault {
	for i := range attrs {
		a := &attrs[i]
		if a.kind == attrPlain {
			continue
		}
		b := binding{uri: span{off: a.val, end: a.valEnd}}
		uri := data[a.val:a.valEnd]
		if a.esc {
			b.uri.str = unescapeAttr(uri)
			uri = []byte(b.uri.str)
		}
		xml := string(uri) == NSXML
		if a.kind == attrPrefix {
			b.prefix, b.prefixEnd = a.local, a.nameEnd
			prefix := data[a.local:a.nameEnd]
			if string(prefix) == "xml" {
				if !xml {
					return faultReserved
				}
				continue
			}
			if string(prefix) == "xmlns" || len(uri) == 0 {
				return faultReserved
			}
		}
		if xml || string(uri) == NSXMLNS {
			return faultReserved
		}
		s.binds = append(s.binds, b)
	}
	return okay
}

// lookup returns the namespace that a prefix, or nil for the default one, stands for.
func (s *scanner) lookup(data []byte, prefix []byte) (span, bool) {
	for i := len(s.binds) - 1; i >= 0; i-- {
		if b := &s.binds[i]; string(data[b.prefix:b.prefixEnd]) == string(prefix) {
			return b.uri, true
		}
	}
	if len(prefix) == 0 {
		if s.scope == nil {
			return span{}, true
		}
		return span{str: s.scope.def}, true
	}
	if string(prefix) == "xml" {
		return span{str: NSXML}, true
	}
	if s.scope != nil {
		for i := range s.scope.decls {
			if d := &s.scope.decls[i]; d.Prefix == string(prefix) {
				if !slices.Contains(s.leaned, i) {
					s.leaned = append(s.leaned, i)
				}
				return span{str: d.URI}, true
			}
		}
	}
	return span{}, false
}

// manyAttrs is where comparing each attribute with each other gets dearer than a map.
const manyAttrs = 24

// checkAttrs sees that every prefix is declared and no expanded name stands twice (Namespaces in XML 1.0 §6.3).
func (s *scanner) checkAttrs(data []byte, attrs []rawAttr, prefixed int) fault {
	if len(attrs) > manyAttrs {
		return s.checkMany(data, attrs)
	}
	for i := 1; i < len(attrs); i++ {
		a := data[attrs[i].name:attrs[i].nameEnd]
		for j := range attrs[:i] {
			if b := &attrs[j]; int(b.nameEnd-b.name) == len(a) && string(data[b.name:b.nameEnd]) == string(a) {
				return faultDup
			}
		}
	}
	if prefixed == 0 {
		return okay
	}
	for i := range attrs {
		a := &attrs[i]
		if a.kind != attrPlain || a.local == a.name {
			continue
		}
		uri, ok := s.lookup(data, a.prefix(data))
		if !ok {
			return faultPrefix
		}
		if prefixed == 1 {
			return okay
		}
		for j := range attrs[:i] {
			b := &attrs[j]
			if b.kind != attrPlain || b.local == b.name || string(data[a.local:a.nameEnd]) != string(data[b.local:b.nameEnd]) {
				continue
			}
			if other, _ := s.lookup(data, b.prefix(data)); other.is(data, uri) {
				return faultDup
			}
		}
	}
	return okay
}

func (s *scanner) checkMany(data []byte, attrs []rawAttr) fault {
	seen := make(map[Name]struct{}, len(attrs))
	for i := range attrs {
		a := &attrs[i]
		n := Name{"", string(data[a.local:a.nameEnd])}
		switch {
		case a.kind != attrPlain:
			n.Space = NSXMLNS
			if a.kind == attrDefault {
				n.Local = ""
			}
		case a.local != a.name:
			uri, ok := s.lookup(data, a.prefix(data))
			if !ok {
				return faultPrefix
			}
			n.Space = uri.in(data)
		}
		if _, dup := seen[n]; dup {
			return faultDup
		}
		seen[n] = struct{}{}
	}
	return okay
}
