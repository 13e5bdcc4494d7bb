// Package xmlstream owns XMPP's subset of XML (RFC 6120 §11): a strict streaming tokenizer with limits, an element
// tree, and an append-writer that escapes everything. It knows XML, not stanzas.
//
// What it accepts is well formed by XML 1.0 (5th edition) and Namespaces in XML 1.0, in UTF-8, without comments,
// processing instructions, DTDs and entities of one's own; everything else is refused with the stream error condition that
// RFC 6120 §4.9.3 has for it. It repairs nothing: two readers that disagree are how stanzas are smuggled.
//
// A Decoder reads a stream in pieces, ParseFrame one element, both into Frames, which keep the wire form; Parse and the
// methods of Frame make trees of Elements. All of them are one scanner.
package xmlstream

import (
	"iter"
	"strings"
)

// Namespaces that the XML specifications reserve.
const (
	NSXML   = "http://www.w3.org/XML/1998/namespace"
	NSXMLNS = "http://www.w3.org/2000/xmlns/"
)

// Name is an expanded name: a namespace and a local part. Attributes without a prefix have no namespace.
type Name struct {
	Space, Local string
}

// Attr is an attribute other than a namespace declaration. Value is unescaped.
type Attr struct {
	Name  Name
	Value string
}

// Node is a child of an element: an element where El is not nil, else character data. Text beside an element is its wire
// form, which is written instead: see Verbatim.
type Node struct {
	El   *Element
	Text string
}

// Element is an XML element as a tree. It is built freely and not changed any more once it was handed on: stanzas,
// handlers and recipients share it.
type Element struct {
	Name  Name
	Attrs []Attr
	Nodes []Node
}

// El returns an element with children. A child is an *Element, a string (character data), an Attr, an []*Element, a Node, or
// nil, which is skipped, as is a nil *Element. Another type panics: it is a mistake of the program, not of its input.
func El(space, local string, children ...any) *Element {
	e := &Element{Name: Name{space, local}}
	return e.Add(children...)
}

// A returns an attribute without a namespace, for El.
func A(local, value string) Attr { return Attr{Name{"", local}, value} }

// Add appends children as El takes them and returns e. It belongs to building: see Element.
func (e *Element) Add(children ...any) *Element {
	for _, c := range children {
		switch c := c.(type) {
		case nil:
		case *Element:
			if c != nil {
				e.Nodes = append(e.Nodes, Node{El: c})
			}
		case []*Element:
			for _, k := range c {
				e.Nodes = append(e.Nodes, Node{El: k})
			}
		case string:
			if c != "" {
				e.Nodes = append(e.Nodes, Node{Text: c})
			}
		case Node:
			e.Nodes = append(e.Nodes, c)
		case Attr:
			e.SetAttr(c.Name, c.Value)
		default:
			panic("xmlstream: a child is an element, a node, a string or an attribute")
		}
	}
	return e
}

// SetAttr sets or replaces an attribute. It belongs to building: see Element.
func (e *Element) SetAttr(name Name, value string) {
	for i := range e.Attrs {
		if e.Attrs[i].Name == name {
			e.Attrs[i].Value = value
			return
		}
	}
	e.Attrs = append(e.Attrs, Attr{name, value})
}

// Is tells whether e is not nil and has this expanded name.
func (e *Element) Is(space, local string) bool {
	return e != nil && e.Name.Local == local && e.Name.Space == space
}

// Attr returns the value of the attribute without a namespace, or "".
func (e *Element) Attr(local string) string {
	v, _ := e.LookupAttr(Name{"", local})
	return v
}

// LookupAttr returns the value of an attribute and whether it is there.
func (e *Element) LookupAttr(name Name) (string, bool) {
	if e == nil {
		return "", false
	}
	for i := range e.Attrs {
		if e.Attrs[i].Name == name {
			return e.Attrs[i].Value, true
		}
	}
	return "", false
}

// Child returns the first child element of this name, or nil. It may be called on nil.
func (e *Element) Child(space, local string) *Element {
	if e == nil {
		return nil
	}
	for _, n := range e.Nodes {
		if n.El.Is(space, local) {
			return n.El
		}
	}
	return nil
}

// Elements iterates over the child elements. It may be called on nil.
func (e *Element) Elements() iter.Seq[*Element] {
	return func(yield func(*Element) bool) {
		if e == nil {
			return
		}
		for _, n := range e.Nodes {
			if n.El != nil && !yield(n.El) {
				return
			}
		}
	}
}

// First returns the first child element, or nil. It may be called on nil.
func (e *Element) First() *Element {
	for k := range e.Elements() {
		return k
	}
	return nil
}

// Text returns the character data directly within e, joined. It may be called on nil.
func (e *Element) Text() string {
	if e == nil {
		return ""
	}
	if len(e.Nodes) == 1 && e.Nodes[0].El == nil {
		return e.Nodes[0].Text
	}
	var b strings.Builder
	for _, n := range e.Nodes {
		if n.El == nil {
			b.WriteString(n.Text)
		}
	}
	return b.String()
}

// ChildText returns the text of the first child of this name, or "".
func (e *Element) ChildText(space, local string) string { return e.Child(space, local).Text() }

// Clone returns a copy of e that may be changed: its attribute and child lists are new, its child elements shared.
func (e *Element) Clone() *Element {
	c := &Element{Name: e.Name}
	c.Attrs = append(c.Attrs, e.Attrs...)
	c.Nodes = append(c.Nodes, e.Nodes...)
	return c
}

// String returns e as it stands alone, with every namespace declared.
func (e *Element) String() string { return string(e.Append(nil, "")) }
