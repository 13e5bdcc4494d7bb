package xmlstream

import (
	"bytes"
	"slices"
	"unsafe"
)

// NSStream is the namespace of <stream:stream/> (RFC 6120 §4.8.1).
const NSStream = "http://etherx.jabber.org/streams"

// Frame is a complete top-level element, a stanza or a nonza, in wire form: parsed once, kept as its bytes. It is
// immutable and may be shared between goroutines. Its strings share the memory of Raw; who keeps one for long clones it.
//
// The wire form is self-contained but for the stream's default namespace: an element that leans on a prefix of the stream
// header gets the declaration into its start tag, and CDATA sections are written as ordinary character data.
type Frame struct {
	raw      string
	name     Name
	ns       string
	attrs    []Attr
	kids     []kid
	strs     *[]string // namespaces of kids that do not stand in raw; nil where they are all ns
	inner    uint32
	innerEnd uint32
	prefixed bool
	hasText  bool
	hasDecls bool
}

// newFrame returns a frame with so many attributes and children, in one allocation where they are few.
func newFrame(attrs, kids int) *Frame {
	switch {
	case attrs <= 2 && kids <= 2:
		f := new(struct {
			Frame
			a [2]Attr
			k [2]kid
		})
		f.attrs, f.kids = f.a[:attrs:attrs], f.k[:kids]
		return &f.Frame
	case attrs <= 4 && kids <= 4:
		f := new(struct {
			Frame
			a [4]Attr
			k [4]kid
		})
		f.attrs, f.kids = f.a[:attrs:attrs], f.k[:kids]
		return &f.Frame
	case attrs <= 6 && kids <= 8:
		f := new(struct {
			Frame
			a [6]Attr
			k [8]kid
		})
		f.attrs, f.kids = f.a[:attrs:attrs], f.k[:kids]
		return &f.Frame
	}
	return &Frame{attrs: make([]Attr, attrs), kids: make([]kid, kids)}
}

// ParseFrame reads data, one XML document of XMPP's subset, as a frame: a WebSocket message (RFC 7395 §3.3.3), a stored
// stanza. White space and an XML declaration may stand before the root element, white space after it, nothing else. Data
// may have l.Bytes bytes. No default namespace is in force outside. The error is an *Error. A string is not copied.
func ParseFrame[T []byte | string](data T, l Limits) (*Frame, error) {
	l = l.orDefault()
	if len(data) > l.Bytes {
		return nil, faultBytes.at(int64(l.Bytes))
	}
	raw := string(data)
	s, start, end, err := document(raw, l, false)
	if err != nil {
		return nil, err
	}
	defer s.free()
	raw = raw[start:end]
	f, bad := s.finish(bytesOf(raw), raw)
	if bad != okay {
		return nil, bad.at(int64(start))
	}
	return f, nil
}

// finish makes a frame of the element that s read, which is data. raw is the same bytes as a string, or "" where a copy
// is to be made.
func (s *scanner) finish(data []byte, raw string) (*Frame, fault) {
	if !s.hasCDATA && len(s.leaned) == 0 {
		if raw == "" {
			raw = string(data)
		}
		return s.frame(data, raw), okay
	}
	out, f := s.rewrite(data) // and read anew
	if f != okay {
		return nil, f
	}
	s.rewind()
	if _, f = s.element(out); f != okay {
		return nil, f
	}
	return s.frame(out, unsafe.String(unsafe.SliceData(out), len(out))), okay // out is not written to after this line
}

// frame makes a frame that needs no rewriting. raw holds the same bytes as data.
func (s *scanner) frame(data []byte, raw string) *Frame {
	f := newFrame(s.ntop-s.top.decls, len(s.kids))
	f.raw = raw
	f.name = Name{s.str(raw, s.topNS), raw[s.top.local:s.top.nameEnd]}
	f.ns = s.str(raw, s.topDef)
	f.inner, f.innerEnd = uint32(s.top.end), uint32(s.innerEnd)
	f.hasText = s.hasText
	f.prefixed = s.top.local != s.top.name && f.name.Space != NSStream
	attrs, n := s.attrs[:s.ntop], 0
	for i := range attrs {
		if a := &attrs[i]; a.kind == attrPlain {
			s.attr(raw, data, a, &f.attrs[n])
			n++
		} else if a.kind == attrPrefix {
			f.hasDecls = true
		}
	}
	copy(f.kids, s.kids)
	if s.kidOutside {
		strs := slices.Clone(s.strs)
		f.strs = &strs
	}
	return f
}

// Name returns the expanded name.
func (f *Frame) Name() Name { return f.name }

// NS returns the default namespace in force within the start tag: children without xmlns have it.
func (f *Frame) NS() string { return f.ns }

// Prefixed tells whether the element's own name stood with a prefix on the wire, other than one for NSStream. A stanza
// must not (RFC 6120 §4.8.5).
func (f *Frame) Prefixed() bool { return f.prefixed }

// Attrs returns the attributes in the order of the wire, without namespace declarations. They are not to be changed.
func (f *Frame) Attrs() []Attr { return f.attrs }

// Attr returns the value of the attribute without a namespace, or "".
func (f *Frame) Attr(local string) string {
	for i := range f.attrs {
		if a := &f.attrs[i]; a.Name.Local == local && a.Name.Space == "" {
			return a.Value
		}
	}
	return ""
}

// LookupAttr returns the value of an attribute and whether it is there.
func (f *Frame) LookupAttr(name Name) (string, bool) {
	for i := range f.attrs {
		if f.attrs[i].Name == name {
			return f.attrs[i].Value, true
		}
	}
	return "", false
}

// Raw returns the whole element. See Frame for what it leans on.
func (f *Frame) Raw() string { return f.raw }

// Inner returns what stands between the tags. It leans on NS and Decls.
func (f *Frame) Inner() string { return f.raw[f.inner:f.innerEnd] }

// Decls returns the prefix declarations of the start tag, each with a space before it, as they can be written into
// another start tag. It is "" as a rule. The default namespace is not among them: see NS.
func (f *Frame) Decls() string {
	if !f.hasDecls {
		return ""
	}
	s := f.reread()
	defer s.free()
	var b []byte
	for i := range s.own.decls {
		b = s.own.decls[i].append(b)
	}
	return string(b)
}

// DeclaresPrefixes tells whether Decls is not "".
func (f *Frame) DeclaresPrefixes() bool { return f.hasDecls }

// reread returns a scanner whose scope is what the start tag declares.
func (f *Frame) reread() *scanner {
	s := newScanner(anyLimits, nil)
	s.own = scope{def: f.ns}
	s.enter(&s.own)
	if !f.hasDecls {
		return s
	}
	data := bytesOf(f.raw)
	var t rawTag
	if bad := s.startTag(data, 0, &t); bad != okay {
		panic("xmlstream: a frame holds a start tag that cannot be read again: " + bad.at(0).Error())
	}
	for i := range s.attrs {
		if a := &s.attrs[i]; a.kind == attrPrefix {
			s.own.decls = append(s.own.decls, s.decl(f.raw, data, a))
		}
	}
	s.attrs = s.attrs[:0]
	return s
}

// HasText tells whether there is character data other than white space directly within the element.
func (f *Frame) HasText() bool { return f.hasText }

// NumChildren returns the number of child elements.
func (f *Frame) NumChildren() int { return len(f.kids) }

// ChildName returns the expanded name of a child element.
func (f *Frame) ChildName(i int) Name {
	k := &f.kids[i]
	n := Name{f.ns, f.raw[k.name:k.nameEnd]}
	if k.ns.end != inStrs {
		n.Space = f.raw[k.ns.off:k.ns.end]
	} else if f.strs != nil {
		n.Space = (*f.strs)[k.ns.off]
	}
	return n
}

// ChildRaw returns a child element in wire form. It leans on NS and Decls.
func (f *Frame) ChildRaw(i int) string { return f.raw[f.kids[i].start:f.kids[i].end] }

// ChildAt returns a child element as a tree, which is made at each call.
func (f *Frame) ChildAt(i int) *Element {
	return f.reread().subtree(f.raw, int(f.kids[i].start), 1)
}

// Child returns the first child of this name as a tree, which is made at each call, or nil.
func (f *Frame) Child(space, local string) *Element {
	if i := f.index(space, local); i >= 0 {
		return f.ChildAt(i)
	}
	return nil
}

// HasChild tells whether there is a child of this name.
func (f *Frame) HasChild(space, local string) bool { return f.index(space, local) >= 0 }

func (f *Frame) index(space, local string) int {
	for i := range f.kids {
		if k := &f.kids[i]; f.raw[k.name:k.nameEnd] == local && f.ChildName(i).Space == space {
			return i
		}
	}
	return -1
}

// Element returns the whole as a tree, which is made at each call.
func (f *Frame) Element() *Element {
	return f.reread().subtree(f.raw, 0, 1+len(f.kids))
}

// rewrite returns data with the declarations it leans on in its start tag and without CDATA sections. It fails where that
// is over the limit.
func (s *scanner) rewrite(data []byte) ([]byte, fault) {
	w := rewriter{out: make([]byte, 0, len(data)+64), most: s.lim.Bytes}
	w.write(data[:s.top.nameEnd])
	for _, l := range s.leaned {
		w.write(s.scope.decls[l.decl].append(nil))
	}
	data = data[s.top.nameEnd:]
	if !s.hasCDATA {
		w.write(data)
		data = nil
	}
	for from := 0; len(data) > 0; from = 1 { // the first tag lacks its '<' already
		end, _ := tagEnd(data, from, 0)
		w.write(data[:end+1])
		data = data[end+1:]
		for len(data) > 0 && (data[0] != '<' || data[1] == '!') {
			if data[0] == '<' {
				var content []byte
				content, data = cutSection(data)
				w.text(content, "&<>")
				continue
			}
			n := bytes.IndexByte(data, '<')
			w.text(data[:n], ">") // with what was CDATA it could come to be ]]>
			data = data[n:]
		}
	}
	if w.over {
		return nil, faultBytes
	}
	return w.out, okay
}

// rewriter collects the rewritten form of an element as long as it is within the limit.
type rewriter struct {
	out  []byte
	most int
	over bool
}

func (w *rewriter) write(p []byte) {
	if w.over = w.over || len(w.out)+len(p) > w.most; !w.over {
		w.out = append(room(w.out, len(p), w.most), p...)
	}
}

// escape writes p, of whose bytes those in special, out of & < >, are escaped.
func (w *rewriter) escape(p []byte, special string) {
	var esc [8]byte
	for len(p) > 0 && !w.over {
		n := bytes.IndexAny(p, special)
		if n < 0 {
			w.write(p)
			return
		}
		w.write(p[:n])
		w.write(AppendText(esc[:0], string(p[n:n+1])))
		p = p[n+1:]
	}
}

// text is escape with line ends normalised (XML 1.0 §2.11): a carriage return and a newline that come to stand together
// must not become one.
func (w *rewriter) text(p []byte, special string) {
	for {
		n := bytes.IndexByte(p, '\r')
		if n < 0 {
			w.escape(p, special)
			return
		}
		w.escape(p[:n], special)
		w.write([]byte{'\n'})
		p = afterCR(p[n:])
	}
}
