package transcript

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"sabir/xmpp/payload/sid"
	"sabir/xmpp/xmlstream"
)

// Record runs what a script does, without what it expects, and returns the script with everything that came written in
// as it should be received: addresses by their names, {any} for ids that nobody in the script has chosen and for stamps.
// After each step it waits until nothing came for t.Quiet. It is a start for a person to read and correct, not a proof.
func Record(ctx context.Context, s *Script, t *Target) (string, error) {
	v, err := s.people(ctx, t)
	if err != nil {
		return "", err
	}
	r := newRun(ctx, s, t, v)
	defer r.end()
	w := recorder{run: r, ids: sentIDs(s)}
	w.head()
	for i := range s.Steps {
		st := &s.Steps[i]
		switch st.Verb {
		case Receives, ReceivesNothing, Together, IsDisconnected, IsOffered, Capture:
			continue
		}
		if f := r.step(st); f != nil {
			f.File, f.Line, f.Said = s.File, st.Line, r.said
			return w.b.String(), f
		}
		w.step(st)
		w.settle()
	}
	return w.b.String(), nil
}

// sentIDs are the ids that the script itself gives.
func sentIDs(s *Script) map[string]bool {
	ids := map[string]bool{}
	for i := range s.Steps {
		for _, x := range s.Steps[i].Elements {
			if s.Steps[i].Verb == Sends {
				ids[x.Attr("id")] = true
			}
		}
	}
	return ids
}

type recorder struct {
	run *run
	ids map[string]bool
	b   strings.Builder
}

func (w *recorder) head() {
	s := w.run.s
	for _, l := range []string{s.Title, s.Description} {
		if l != "" {
			fmt.Fprintf(&w.b, "# %s\n", l)
		}
	}
	for _, tag := range s.Tags {
		fmt.Fprintf(&w.b, "## %s\n", tag)
	}
	for _, spec := range s.Specs {
		fmt.Fprintf(&w.b, "# spec: %s\n", spec)
	}
	for _, feature := range s.Features {
		fmt.Fprintf(&w.b, "# feature: %s\n", feature)
	}
	for i := range s.Characters {
		c := &s.Characters[i]
		fmt.Fprintf(&w.b, "\n[%s] %s\n", c.Kind, c.Name)
		for _, p := range c.Properties {
			fmt.Fprintf(&w.b, "\t%s: %s\n", p.Key, p.Value)
		}
	}
	w.b.WriteString("\n-----\n")
}

// step writes a step as the script has it.
func (w *recorder) step(st *Step) {
	name := ""
	if st.Actor >= 0 {
		name = w.run.s.Characters[st.Actor].Name + " "
	}
	w.b.WriteString("\n" + name)
	switch st.Verb {
	case Connects:
		w.b.WriteString("connects\n")
	case Opens:
		w.b.WriteString("opens")
		if st.Text != "" {
			w.b.WriteString(" to " + st.Text)
		}
		w.b.WriteString("\n")
	case Authenticates:
		w.b.WriteString("authenticates\n")
	case Sends:
		w.b.WriteString("sends:\n")
		for _, x := range st.Elements {
			w.write(x)
		}
	case SendsRaw:
		w.b.WriteString("sends raw:\n\t" + st.Text + "\n")
	case Disconnects:
		w.b.WriteString("disconnects\n")
	case Drops:
		w.b.WriteString("drops\n")
	case NodeStops:
		fmt.Fprintf(&w.b, "node %d stops\n", st.Node)
	case NodeStarts:
		fmt.Fprintf(&w.b, "node %d starts\n", st.Node)
	}
}

// settle writes what comes until nothing does.
func (w *recorder) settle() {
	for i, a := range w.run.actors {
		if a == nil || a.s != nil && a.in == nil && len(a.left) == 0 {
			continue // it opens or authenticates, and may go on with that
		}
		for {
			ev, ok := w.run.next(a, w.run.t.quiet(), nil)
			if !ok {
				break
			}
			if ev.err != nil {
				fmt.Fprintf(&w.b, "\n%s is disconnected\n", a.name)
				w.run.cut(a)
				w.run.actors[i] = nil
				break
			}
			fmt.Fprintf(&w.b, "\n%s receives:\n", a.name)
			w.write(w.general(ev.el))
		}
	}
}

// general replaces what is so in this run only.
func (w *recorder) general(x *xmlstream.Element) *xmlstream.Element {
	id := x.Attr("id")
	x = w.values(transform(x, w.names))
	if id != "" && !w.ids[id] {
		x.SetAttr(xmlstream.Name{Local: "id"}, "{any}")
	}
	return x
}

func (w *recorder) values(x *xmlstream.Element) *xmlstream.Element {
	for i := range x.Attrs {
		// A stanza-id is the server's (XEP-0359).
		if n := x.Attrs[i].Name.Local; n == "stamp" || n == "id" && x.Is(sid.NS, "stanza-id") {
			x.Attrs[i].Value = "{any}"
		}
	}
	for k := range x.Elements() {
		w.values(k)
	}
	return x
}

// names replaces the addresses of the characters, the longest first, and the domain.
func (w *recorder) names(s string) string {
	v := w.run.v
	var from []rename
	for _, p := range v.people {
		if p.account < 0 {
			continue
		}
		if p.full != "" {
			from = append(from, rename{from: p.full, to: "${" + p.name + "'s full JID}"})
		}
		from = append(from, rename{from: v.accounts[p.account].JID.String(), to: "${" + p.name + "'s JID}"})
	}
	from = append(from, rename{v.domain, "{domain}", true})
	slices.SortStableFunc(from, func(a, b rename) int { return len(b.from) - len(a.from) })
	back := scope{old: from}
	return back.rename(s)
}

// write writes an element over lines, indented by one tab.
func (w *recorder) write(x *xmlstream.Element) {
	from := w.b.Len()
	w.lines(x, "jabber:client", "\t")
	text := apostrophes.ReplaceAllStringFunc(w.b.String()[from:], func(v string) string {
		return `="` + strings.NewReplacer("&#39;", "'", "&apos;", "'").Replace(v[2:len(v)-1]) + `"`
	})
	kept := w.b.String()[:from]
	w.b.Reset()
	w.b.WriteString(kept + text)
}

// apostrophes finds the attributes whose values have some: in other quotes ${Romeo's JID} can be read.
var apostrophes = regexp.MustCompile(`='[^'"]*&(apos|#39);[^'"]*'`)

func (w *recorder) lines(x *xmlstream.Element, ns, indent string) {
	if x.First() == nil || strings.TrimSpace(x.Text()) != "" {
		w.b.WriteString(indent + string(x.Append(nil, ns)) + "\n")
		return
	}
	open := &xmlstream.Element{Name: x.Name, Attrs: x.Attrs}
	tag := strings.TrimSuffix(string(open.Append(nil, ns)), "/>")
	w.b.WriteString(indent + tag + ">\n")
	for k := range x.Elements() {
		w.lines(k, x.Name.Space, indent+"\t")
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(tag, "<"), " ")
	w.b.WriteString(indent + "</" + name + ">\n")
}
