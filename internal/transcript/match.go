package transcript

import (
	"fmt"
	"strings"

	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// matcher compares what came with what the script expects. See the package comment for the rules.
type matcher struct {
	v     *scope
	actor int
	exact bool // an .xt file
}

// differs is the first difference: where it is and what it is. deep is how far comparison had come, to tell the nearest
// of several candidates.
type differs struct {
	path, what string
	deep       int
}

func (d *differs) String() string { return d.path + ": " + d.what }

// match returns nil where got is as expected. What was captured on the way is kept in that case only.
func (m *matcher) match(want, got *xmlstream.Element) *differs {
	mark := len(m.v.trail)
	d := m.element(want, got, label(want), nil)
	if d != nil {
		m.v.back(mark)
	}
	return d
}

func label(x *xmlstream.Element) string {
	switch x.Name.Space {
	case stanza.NSClient:
		return x.Name.Local
	case stream.NS:
		return "stream:" + x.Name.Local
	}
	return x.Name.Local + " (" + x.Name.Space + ")"
}

// mode is what an ancestor of the namespace said about strictness.
type mode struct {
	space  string
	strict bool
}

func lax(space string) bool { return space == stanza.NSClient || space == stream.NS }

func (m *matcher) element(want, got *xmlstream.Element, path string, from *mode) *differs {
	if want.Name != got.Name {
		return &differs{path, "there is " + label(got), 0}
	}
	strict := !lax(want.Name.Space)
	if from != nil && from.space == want.Name.Space {
		strict = from.strict
	}
	if s, ok := want.LookupAttr(xmlstream.Name{Space: nsScansion, Local: "strict"}); ok {
		strict = s == "true"
		from = &mode{want.Name.Space, strict}
	}
	if d := m.attrs(want, got, path, strict); d != nil {
		return d
	}
	if d := m.text(want, got, path, strict); d != nil {
		return d
	}
	var ws, gs []*xmlstream.Element
	for k := range want.Elements() {
		ws = append(ws, k)
	}
	for k := range got.Elements() {
		gs = append(gs, k)
	}
	if strict {
		return m.inOrder(ws, gs, path, from)
	}
	return m.anyOrder(ws, gs, make([]bool, len(gs)), path, from)
}

func (m *matcher) attrs(want, got *xmlstream.Element, path string, strict bool) *differs {
	for _, a := range want.Attrs {
		if a.Name.Space == nsScansion {
			continue
		}
		value, ok := got.LookupAttr(a.Name)
		if !ok {
			return &differs{path, "the attribute " + a.Name.Local + " is missing", 1}
		}
		ts, err := m.v.pattern(a.Value, m.actor)
		if err != nil {
			return &differs{path, err.Error(), 1}
		}
		if !m.v.fits(ts, value) {
			return &differs{path, fmt.Sprintf("%s is '%s', not '%s'", a.Name.Local, value, m.show(ts)), 1}
		}
	}
	for _, a := range got.Attrs {
		_, ok := want.LookupAttr(a.Name)
		if ok {
			continue
		}
		if strict {
			return &differs{path, fmt.Sprintf("there is an attribute %s='%s'", a.Name.Local, a.Value), 1}
		}
		if m.exact && a.Name.Local == "type" && got.Is(stanza.NSClient, "presence") {
			return &differs{path, fmt.Sprintf("the type is '%s', and an available presence was expected", a.Value), 1}
		}
	}
	return nil
}

// show writes a pattern with what is known filled in.
func (m *matcher) show(ts []token) string {
	var b strings.Builder
	for _, t := range ts {
		switch {
		case t.any:
			b.WriteString("{any}")
		case t.name != "":
			b.WriteString("${" + t.name + "}")
		default:
			b.WriteString(t.text)
		}
	}
	return b.String()
}

func (m *matcher) text(want, got *xmlstream.Element, path string, strict bool) *differs {
	expected := strings.TrimSpace(want.Text())
	if expected == "" && !strict {
		return nil
	}
	ts, err := m.v.pattern(expected, m.actor)
	if err != nil {
		return &differs{path, err.Error(), 2}
	}
	text := strings.TrimSpace(got.Text())
	if len(ts) == 1 && ts[0].any && text == "" {
		return &differs{path, "the text is missing", 2}
	}
	if !m.v.fits(ts, text) {
		return &differs{path, fmt.Sprintf("the text is '%s', not '%s'", text, m.show(ts)), 2}
	}
	return nil
}

func (m *matcher) inOrder(ws, gs []*xmlstream.Element, path string, from *mode) *differs {
	for i, w := range ws {
		if i == len(gs) {
			return &differs{path, label(w) + " is missing", 3}
		}
		if d := m.element(w, gs[i], path+"/"+label(w), from); d != nil {
			d.deep += 3
			return d
		}
	}
	if len(gs) > len(ws) {
		return &differs{path, "there is one more element: " + label(gs[len(ws)]), 3}
	}
	return nil
}

// anyOrder finds a child for each expected one, going back where a capture led astray.
func (m *matcher) anyOrder(ws, gs []*xmlstream.Element, used []bool, path string, from *mode) *differs {
	if len(ws) == 0 {
		return nil
	}
	nearest := &differs{path, label(ws[0]) + " is missing", 3}
	candidates := 0
	for i, g := range gs {
		if used[i] || g.Name != ws[0].Name {
			continue
		}
		candidates++
		mark := len(m.v.trail)
		d := m.element(ws[0], g, path+"/"+label(ws[0]), from)
		if d == nil {
			used[i] = true
			if d = m.anyOrder(ws[1:], gs, used, path, from); d == nil {
				return nil
			}
			used[i] = false
		}
		m.v.back(mark)
		if d.deep += 3; d.deep > nearest.deep {
			nearest = d
		}
	}
	if candidates > 1 && nearest.deep <= 4 { // none comes close, so the difference to one of them says nothing
		nearest.path, nearest.what = path, fmt.Sprintf("none of the %d %s is the expected one: %s", candidates, label(ws[0]), ws[0])
	}
	return nearest
}
