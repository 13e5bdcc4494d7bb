package transcript

import (
	"fmt"
	"strings"
	"time"

	"sabir/xmpp/xmlstream"
)

// wanted is an element that one character expects within a together block.
type wanted struct {
	line  int
	actor int
	el    *xmlstream.Element
}

// together receives as many elements for each character as the block names, then looks for an order in which all fit.
func (r *run) together(st *Step) *Failure {
	var all []wanted
	for _, k := range st.Steps {
		for _, el := range k.Elements {
			all = append(all, wanted{k.Line, k.Actor, el})
		}
	}
	got := make([][]*xmlstream.Element, len(r.actors))
	deadline := time.Now().Add(r.t.timeout())
	for _, w := range all {
		a := r.actors[w.actor]
		if a == nil {
			return &Failure{Line: w.line, What: r.s.Characters[w.actor].Name + " is not connected"}
		}
		ev, ok := r.next(a, max(time.Until(deadline), 50*time.Millisecond), w.el)
		if !ok || ev.err != nil {
			why := fmt.Sprintf("nothing more came for %s within %v", a.name, r.t.timeout())
			if ok {
				why = a.name + " receives no more: " + ending(ev.err)
			}
			return r.unmatched(all, got, w.actor, why)
		}
		got[w.actor] = append(got[w.actor], ev.el)
	}
	used := make([][]bool, len(got))
	for i := range got {
		used[i] = make([]bool, len(got[i]))
	}
	if r.assign(all, got, used) {
		return nil
	}
	for _, w := range all {
		if f := r.unmatched(all, got, w.actor, r.s.Characters[w.actor].Name+" received something else"); f != nil {
			return f
		}
	}
	return &Failure{Line: st.Line, What: "what came does not fit together"}
}

// assign finds an element for each expected one, going back where a choice led astray.
func (r *run) assign(all []wanted, got [][]*xmlstream.Element, used [][]bool) bool {
	if len(all) == 0 {
		return true
	}
	w := all[0]
	m := matcher{v: r.v, actor: w.actor, exact: r.s.exact}
	for i, x := range got[w.actor] {
		if used[w.actor][i] {
			continue
		}
		mark := len(r.v.trail)
		if m.match(w.el, x) != nil {
			continue
		}
		used[w.actor][i] = true
		if r.assign(all[1:], got, used) {
			return true
		}
		used[w.actor][i] = false
		r.v.back(mark)
	}
	return false
}

// unmatched names the expected elements of a character that nothing of what came fits, or returns nil where each of them
// fits something.
func (r *run) unmatched(all []wanted, got [][]*xmlstream.Element, actor int, what string) *Failure {
	f := &Failure{What: what}
	m := matcher{v: r.v, actor: actor, exact: r.s.exact}
	taken := make([]bool, len(got[actor]))
	var missing, extra []string
next:
	for _, w := range all {
		if w.actor != actor {
			continue
		}
		for i, x := range got[actor] {
			if !taken[i] && m.match(w.el, x) == nil {
				taken[i] = true
				continue next
			}
		}
		if f.Line == 0 {
			f.Line = w.line
		}
		missing = append(missing, r.shown(w.el, actor))
	}
	for i, x := range got[actor] {
		if !taken[i] {
			extra = append(extra, show(x))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	const sep = "\n            "
	f.Expected, f.Got = strings.Join(missing, sep), strings.Join(extra, sep)
	return f
}
