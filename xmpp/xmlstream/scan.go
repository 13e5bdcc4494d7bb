package xmlstream

import (
	"encoding/binary"
	"math"
	"math/bits"
	"sync"
	"unicode/utf8"
)

// span is a string by its place: in the scanned bytes, whose offsets outlive a move of them, or, where end is inStrs, the
// string strs[off] of the scanner.
type span struct{ off, end uint32 }

const inStrs = math.MaxUint32

// The strings that each scanner has: the default namespace outside, and the one of xml.
var (
	spanOutside = span{0, inStrs}
	spanXML     = span{1, inStrs}
)

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

// kid is a child element of the top-level element.
type kid struct {
	start, end    uint32
	name, nameEnd uint32 // the local part
	ns            span
}

// scanner reads one top-level element. It may be called again with more bytes of it, wherever they now lie, and goes on
// where it stopped. What it finds does not depend on where the input was cut: a tag is judged when it is complete, the
// encoding within it before anything else.
type scanner struct {
	lim   Limits
	scope *scope // nil for none

	progress

	stack  []open
	binds  []binding
	attrs  []rawAttr // of the top-level element first, then of the tag just read
	kids   []kid
	strs   []string
	leaned []lean

	own  scope // space for a scope of the scanner's own
	tree builder
	buf  []byte // the decoder keeps an incomplete element here
}

// progress is how far a scanner came and what it noted.
type progress struct {
	kind  tokenKind // used by the decoder
	quote byte      // within an incomplete tag: the quote open at probe

	hasText    bool // character data other than white space directly within the top-level element, CDATA left out
	hasCDATA   bool // anywhere
	kidOutside bool // the namespace of a child is a string, and not spanOutside
	wantTree   bool

	pos   int // what lies before is read
	probe int // within an incomplete token at pos: what lies before was looked at; 0 for none
	valid int // within an incomplete tag at pos: UTF-8 up to here
	cdata int // where the content of the open CDATA section begins; 0 for none

	skipped  int // bytes of the element that were thrown away
	escaped  int // namespace declarations that had to be unescaped
	elements int
	ntop     int // number of attributes of the top-level element
	innerEnd int
	top      rawTag
	topNS    span // of its name
	topDef   span // the default namespace within it
}

// lean is a declaration of the scope that a prefix leans on, and its place in strs.
type lean struct {
	decl int
	uri  span
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
	s.lim = l
	s.enter(in)
	return s
}

// enter sets what the element inherits.
func (s *scanner) enter(in *scope) {
	s.scope = in
	def := ""
	if in != nil {
		def = in.def
	}
	s.strs = append(s.strs[:0], def, NSXML)
}

// free gives s back. No slice of s may be in use.
func (s *scanner) free() {
	s.rewind()
	clear(s.strs)
	s.scope, s.own = nil, scope{}
	s.buf = trim(s.buf, keepBytes)
	s.stack, s.binds, s.attrs = trim(s.stack, keepItems), trim(s.binds, keepItems), trim(s.attrs, keepItems)
	s.kids, s.strs, s.leaned = trim(s.kids, keepItems), trim(s.strs, keepItems), trim(s.leaned, keepItems)
	scanners.Put(s)
}

// trim empties a slice and drops one that has become large.
func trim[T any](s []T, keep int) []T {
	if cap(s) > keep {
		return nil
	}
	return s[:0]
}

// room returns b with room for n bytes more. It grows by doubling, which costs twice the final size in all, to most in the
// last step, and not beyond unless it must.
func room(b []byte, n, most int) []byte {
	need := len(b) + n
	if need <= cap(b) {
		return b
	}
	grown := 2 * cap(b)
	if 2*grown > most {
		grown = most
	}
	return append(make([]byte, 0, max(need, min(grown, most), 512)), b...)
}

// rewind forgets what was read, but not the bytes kept.
func (s *scanner) rewind() {
	if s.wantTree {
		s.tree.reset()
	}
	s.progress = progress{}
	s.stack, s.binds, s.attrs, s.kids, s.leaned = s.stack[:0], s.binds[:0], s.attrs[:0], s.kids[:0], s.leaned[:0]
	clear(s.strs[2:])
	s.strs = s.strs[:2]
}

// str returns the string of p, in data or in src, which holds the same bytes.
func (s *scanner) str(src string, p span) string {
	if p.end == inStrs {
		return s.strs[p.off]
	}
	return src[p.off:p.end]
}

// same compares without making a string.
func (s *scanner) same(data []byte, p, q span) bool {
	if p == q {
		return true
	}
	if p.end == inStrs {
		p, q = q, p
	}
	if p.end == inStrs {
		return s.strs[p.off] == s.strs[q.off]
	}
	if q.end == inStrs {
		return string(data[p.off:p.end]) == s.strs[q.off]
	}
	return string(data[p.off:p.end]) == string(data[q.off:q.end])
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
	if s.wantTree {
		s.tree.dirty = true
	}
	return s.cdata, okay
}

// section goes on in a CDATA section and returns where it ends.
func (s *scanner) section(data []byte, i int) (int, fault) {
	for {
		if i = plainText(data, i); i >= len(data) {
			return i, short
		}
		switch b := data[i]; {
		case b == '>' && i >= s.cdata+2 && data[i-1] == ']' && data[i-2] == ']':
			s.cdata = 0
			return i + 1, okay
		case b == '<', b == '>', b == '&', b == '\r':
			i++
		case b >= utf8.RuneSelf:
			var f fault
			if i, f = wideRun(data, i); f != okay {
				return i, f
			}
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
			if s.wantTree {
				s.tree.dirty = true
			}
			i++
		case b >= utf8.RuneSelf:
			var f fault
			if i, f = wideRun(data, i); f != okay {
				return i, f
			}
		default:
			return i, faultChar
		}
	}
}

// textRef reads a reference in character data. Leading zeros make references of any length, so an incomplete one is
// looked at once too.
func (s *scanner) textRef(data []byte, at int) (int, rune, fault) {
	i := max(s.probe, at+1)
	for i < len(data) && class[data[i]]&clRef != 0 {
		i++
	}
	if s.probe = i; i >= len(data) {
		return at, 0, short
	}
	r, next, f := reference(data, at)
	if f != short {
		s.probe = 0
	}
	if s.wantTree {
		s.tree.dirty = true
	}
	return next, r, f
}

// plainText skips what needs no look in character data, eight bytes at a time.
func plainText(data []byte, i int) int {
	for i+8 <= len(data) {
		w := binary.LittleEndian.Uint64(data[i:])
		// < and > differ in one bit. Line ends and tabs stop here too, and are skipped below.
		stop := w | (w - ones*0x20) | zeroes(w|ones*2^ones*'>') | zeroes(w^ones*'&')
		if stop &= highs; stop == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(stop) >> 3
		if class[data[i]]&clTextStop != 0 {
			return i
		}
		i++
	}
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
	if t.local != t.name || depth < 2 || s.wantTree {
		var ok bool
		if ns, ok = s.lookup(data, t.prefix(data)); !ok {
			return at, faultPrefix
		}
	}
	switch depth {
	case 0:
		s.top, s.ntop = t, len(s.attrs)
		s.topNS, s.topDef = ns, s.defaultNS()
		if s.scope != nil && s.scope.name.Local == string(data[t.local:t.nameEnd]) && s.is(data, ns, s.scope.name.Space) {
			return at, faultSecond
		}
	case 1:
		s.addKid(at, &t, ns)
	}
	if s.wantTree {
		s.tree.start(s, data, at, &t, ns)
	}
	if !t.empty {
		s.stack = append(s.stack, open{t.name, t.nameEnd, outside})
		return t.end, okay
	}
	s.closed(t.end, t.end, outside)
	if s.wantTree {
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
	if s.wantTree {
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
	s.binds = s.binds[:outside]
}

func (s *scanner) addKid(at int, t *rawTag, ns span) {
	if ns.end == inStrs && ns != spanOutside {
		s.kidOutside = true
	}
	if n := len(s.kids); n == cap(s.kids) && n >= keepItems { // few steps, and no more room than the limit asks for
		most := max(n+1, s.lim.Children)
		if 8*n < most {
			most = 4 * n
		}
		s.kids = append(make([]kid, 0, most), s.kids...)
	}
	s.kids = append(s.kids, kid{start: uint32(at), name: t.local, nameEnd: t.nameEnd, ns: ns})
}

// maxEscaped bounds the namespace declarations with references within one top-level element. Each costs memory beside the
// kept bytes, and nobody needs many.
const maxEscaped = 1000

// declare puts the declarations of a tag in force (Namespaces in XML 1.0 §3).
func (s *scanner) declare(data []byte, attrs []rawAttr) fault {
	for i := range attrs {
		a := &attrs[i]
		if a.kind == attrPlain {
			continue
		}
		b := binding{uri: span{a.val, a.valEnd}}
		uri := data[a.val:a.valEnd]
		if a.esc {
			if s.escaped++; s.escaped > maxEscaped {
				return faultEscaped
			}
			s.strs = append(s.strs, unescapeAttr(uri))
			b.uri = span{uint32(len(s.strs) - 1), inStrs}
			uri = []byte(s.strs[b.uri.off])
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

// defaultNS returns the default namespace in force.
func (s *scanner) defaultNS() span {
	for i := len(s.binds) - 1; i >= 0; i-- {
		if b := &s.binds[i]; b.prefix == b.prefixEnd {
			return b.uri
		}
	}
	return spanOutside
}

// lookup returns the namespace that a prefix, or nil for the default one, stands for.
func (s *scanner) lookup(data []byte, prefix []byte) (span, bool) {
	if len(prefix) == 0 {
		return s.defaultNS(), true
	}
	for i := len(s.binds) - 1; i >= 0; i-- {
		if b := &s.binds[i]; string(data[b.prefix:b.prefixEnd]) == string(prefix) {
			return b.uri, true
		}
	}
	if string(prefix) == "xml" {
		return spanXML, true
	}
	if s.scope == nil {
		return span{}, false
	}
	for i := range s.leaned {
		if s.scope.decls[s.leaned[i].decl].Prefix == string(prefix) {
			return s.leaned[i].uri, true
		}
	}
	for i := range s.scope.decls {
		if d := &s.scope.decls[i]; d.Prefix == string(prefix) {
			s.strs = append(s.strs, d.URI)
			l := lean{i, span{uint32(len(s.strs) - 1), inStrs}}
			s.leaned = append(s.leaned, l)
			return l.uri, true
		}
	}
	return span{}, false
}

// is compares p with a string.
func (s *scanner) is(data []byte, p span, str string) bool {
	if p.end == inStrs {
		return s.strs[p.off] == str
	}
	return string(data[p.off:p.end]) == str
}

// manyAttrs is where comparing each attribute with each other gets dearer than a map and its garbage.
const manyAttrs = 64

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
			if other, _ := s.lookup(data, b.prefix(data)); s.same(data, other, uri) {
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
			if n.Space = ""; uri.end == inStrs {
				n.Space = s.strs[uri.off]
			} else {
				n.Space = string(data[uri.off:uri.end])
			}
		}
		if _, dup := seen[n]; dup {
			return faultDup
		}
		seen[n] = struct{}{}
	}
	return okay
}
