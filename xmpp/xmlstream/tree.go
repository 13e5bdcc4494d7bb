package xmlstream

import (
	"bytes"
	"math"
	"unicode/utf8"
	"unsafe"
)

// Parse reads data, one XML document of XMPP's subset, into a tree: white space and an XML declaration may stand before
// the root element, white space after it, nothing else. Data may have l.Bytes bytes. The error is an *Error. The strings
// of the tree share memory with data.
func Parse(data string, l Limits) (*Element, error) {
	s, _, _, err := document(data, l, true)
	if err != nil {
		return nil, err
	}
	defer s.free()
	return s.tree.root, nil
}

// anyLimits is for what was within its limits already.
var anyLimits = Limits{Bytes: math.MaxInt, Depth: math.MaxInt, Attrs: math.MaxInt, Children: math.MaxInt, Name: math.MaxInt}

// builder makes a tree while a scanner reads. What the scanner reads must be the bytes of src.
type builder struct {
	src   string
	root  *Element
	open  []growing
	nodes []Node    // children of the open elements, the innermost one's last
	room  []Element // for the next elements
	from  int       // where the character data begins that no node holds yet
	dirty bool      // it is not to be taken as it stands: a reference, a carriage return or CDATA is in it
	wires bool      // nodes of elements get their wire form
}

// growing is an element whose end is awaited, and where its children begin in nodes.
type growing struct {
	el    *Element
	nodes int
	from  int // where it begins in src
}

func (b *builder) reset() {
	clear(b.open)
	clear(b.nodes)
	*b = builder{open: trim(b.open, keepItems), nodes: trim(b.nodes, keepItems)}
}

// subtree reads the element that begins at src[at] and is known to be good, and frees s. About room elements are in it.
func (s *scanner) subtree(src string, at, room int) *Element {
	defer s.free()
	s.wantTree, s.tree.src = true, src
	if room > 1 {
		s.tree.room = make([]Element, 0, room)
	}
	s.pos = at
	if _, f := s.element(bytesOf(src)); f != okay {
		panic("xmlstream: a frame holds what cannot be read again: " + f.at(int64(s.pos)).Error())
	}
	return s.tree.root
}

// element returns a new element.
func (b *builder) element() *Element {
	n := len(b.room)
	if n == cap(b.room) {
		return new(Element)
	}
	b.room = b.room[:n+1]
	return &b.room[n]
}

func (b *builder) start(s *scanner, data []byte, at int, t *rawTag, ns span) {
	e := b.element()
	e.Name = Name{s.str(b.src, ns), b.src[t.local:t.nameEnd]}
	attrs := s.attrs
	if len(b.open) == 0 {
		b.root = e
	} else {
		b.text(data, at)
		b.nodes = append(b.nodes, Node{El: e})
		attrs = attrs[s.ntop:]
	}
	if n := len(attrs) - t.decls; n > 0 {
		e.Attrs = make([]Attr, n)
		n = 0
		for i := range attrs {
			if a := &attrs[i]; a.kind == attrPlain {
				s.attr(b.src, data, a, &e.Attrs[n])
				n++
			}
		}
	}
	b.open = append(b.open, growing{e, len(b.nodes), at})
	b.from, b.dirty = t.end, false
}

// text makes a node of the character data that ends at at.
func (b *builder) text(data []byte, at int) {
	if b.from == at {
		return
	}
	text := b.src[b.from:at]
	if b.dirty {
		if text = unescapeText(data[b.from:at]); text == "" { // an empty CDATA section
			return
		}
	}
	b.nodes = append(b.nodes, Node{Text: text})
}

func (b *builder) end(at int) {
	last := len(b.open) - 1
	g := b.open[last]
	b.open[last] = growing{}
	b.open = b.open[:last]
	if kids := b.nodes[g.nodes:]; len(kids) > 0 {
		g.el.Nodes = append(make([]Node, 0, len(kids)), kids...)
		clear(kids)
		b.nodes = b.nodes[:g.nodes]
	}
	if b.wires && last > 0 {
		b.nodes[g.nodes-1].Text = b.src[g.from:at]
	}
	b.from, b.dirty = at, false
}

// attr fills r with an attribute. src holds the same bytes as data.
func (s *scanner) attr(src string, data []byte, a *rawAttr, r *Attr) {
	r.Name.Local = src[a.local:a.nameEnd]
	if a.local != a.name {
		ns, _ := s.lookup(data, a.prefix(data))
		r.Name.Space = s.str(src, ns)
	}
	if a.esc {
		r.Value = unescapeAttr(data[a.val:a.valEnd])
	} else {
		r.Value = src[a.val:a.valEnd]
	}
}

// unescapeAttr returns the value that stands in a start tag as data: references replaced, white space normalised
// (XML 1.0 §3.3.3, after §2.11).
func unescapeAttr(data []byte) string {
	b := make([]byte, 0, len(data))
	for i := 0; i < len(data); i++ {
		switch c := data[i]; c {
		case '&':
			r, next, _ := reference(data, i)
			b = utf8.AppendRune(b, r)
			i = next - 1
		case '\r':
			if i+1 < len(data) && data[i+1] == '\n' {
				i++
			}
			b = append(b, ' ')
		case '\t', '\n':
			b = append(b, ' ')
		default:
			b = append(b, c)
		}
	}
	return unsafe.String(unsafe.SliceData(b), len(b)) // b is not used after this line
}

// unescapeText returns the character data that stands between two tags as data: references replaced, CDATA sections
// opened, line ends normalised (XML 1.0 §2.11).
func unescapeText(data []byte) string {
	b := make([]byte, 0, len(data))
	for len(data) > 0 {
		n := 0
		for n < len(data) && data[n] != '&' && data[n] != '\r' && data[n] != '<' {
			n++
		}
		b = append(b, data[:n]...)
		if data = data[n:]; len(data) == 0 {
			break
		}
		switch data[0] {
		case '&':
			r, next, _ := reference(data, 0)
			b = utf8.AppendRune(b, r)
			data = data[next:]
		case '\r':
			b, data = append(b, '\n'), afterCR(data)
		default:
			content, rest := cutSection(data)
			for len(content) > 0 {
				if n = bytes.IndexByte(content, '\r'); n < 0 {
					n = len(content)
				}
				b = append(b, content[:n]...)
				if content = content[n:]; len(content) > 0 {
					b, content = append(b, '\n'), afterCR(content)
				}
			}
			data = rest
		}
	}
	return unsafe.String(unsafe.SliceData(b), len(b)) // b is not used after this line
}

// afterCR drops the line end that data begins with.
func afterCR(data []byte) []byte {
	if len(data) > 1 && data[1] == '\n' {
		return data[2:]
	}
	return data[1:]
}

// cutSection returns the content of the CDATA section that data begins with, and what follows it.
func cutSection(data []byte) (content, rest []byte) {
	data = data[len("<![CDATA["):]
	end := bytes.Index(data, []byte("]]>"))
	return data[:end], data[end+3:]
}

// bytesOf returns the bytes of s, which must not be written to.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
