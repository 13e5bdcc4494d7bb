package xmlstream

import "strings"

// Rescope returns f as it reads in a stream whose content namespace is to, where it came from one whose content namespace
// is from (RFC 6120 §4.8.3): the element and what is of the same namespace within it, down to elements of another one,
// which stay as they are. An element that is not of from is returned as it is. f is not changed. The error is an *Error.
func (f *Frame) Rescope(from, to string) (*Frame, error) {
	if f.name.Space != from {
		return f, nil
	}
	if f.ns == from && f.strs == nil && !strings.Contains(f.raw, from) {
		c := *f // the namespace stands nowhere in the wire form: it was that of the stream
		c.name.Space, c.ns = to, to
		return &c, nil
	}
	return ParseFrame(f.Element().Rescope(from, to).String(), anyLimits)
}

// Rescope is that of Frame for a tree.
func (e *Element) Rescope(from, to string) *Element {
	if e.Name.Space != from {
		return e
	}
	c := &Element{Name: Name{to, e.Name.Local}, Attrs: e.Attrs, Nodes: make([]Node, len(e.Nodes))}
	for i, n := range e.Nodes {
		if n.El != nil && n.El.Name.Space == from {
			n = Node{El: n.El.Rescope(from, to)}
		}
		c.Nodes[i] = n
	}
	return c
}
