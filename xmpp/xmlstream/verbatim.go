package xmlstream

import (
	"slices"
	"strings"
)

// Verbatim reads data, an element in wire form, as a child for Add that is written byte for byte as it stands. It is for
// what others have signed or count on in other ways. An element that would read otherwise where another default namespace is
// in force, because one within it has no namespace, is a child like others. l and the error are those of Parse.
func Verbatim(data string, l Limits) (Node, error) {
	e, err := Parse(data, l)
	if err != nil {
		return Node{}, err
	}
	n := Node{El: e}
	if e.qualified() && strings.HasPrefix(data, "<") && !strings.HasPrefix(data, "<?") && strings.HasSuffix(data, ">") {
		n.Text = data
	}
	return n, nil
}

// qualified tells whether the element and all within it have a namespace.
func (e *Element) qualified() bool {
	if e.Name.Space == "" {
		return false
	}
	for k := range e.Elements() {
		if !k.qualified() {
			return false
		}
	}
	return true
}

// Equal tells whether two trees read the same: names, attributes in any order, and children. Either may be nil.
func (e *Element) Equal(o *Element) bool {
	if e == nil || o == nil {
		return e == o
	}
	if e.Name != o.Name || len(e.Attrs) != len(o.Attrs) || len(e.Nodes) != len(o.Nodes) {
		return false
	}
	for _, a := range e.Attrs {
		if v, ok := o.LookupAttr(a.Name); !ok || v != a.Value {
			return false
		}
	}
	return slices.EqualFunc(e.Nodes, o.Nodes, func(a, b Node) bool {
		if a.El == nil || b.El == nil {
			return a.El == b.El && a.Text == b.Text
		}
		return a.El.Equal(b.El)
	})
}

// Inside returns in wire form the element at the end of a path of children within f, each the first of its name, or "". It leans
// on what is declared around it.
func (f *Frame) Inside(path ...Name) (wire string) {
	s := f.reread()
	s.tree.wires = true
	at := s.subtree(f.raw, 0, 1)
	for _, n := range path {
		i := slices.IndexFunc(at.Nodes, func(k Node) bool { return k.El != nil && k.El.Name == n })
		if i < 0 {
			return ""
		}
		at, wire = at.Nodes[i].El, at.Nodes[i].Text
	}
	return wire
}
