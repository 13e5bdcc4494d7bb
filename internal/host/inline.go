package host

import (
	"context"
	"fmt"
	"slices"

	"sabir/internal/session"
	"sabir/mod"
	"sabir/xmpp/xmlstream"
)

// inline are the features of Bind 2 that extensions have registered (XEP-0386).
type inline struct {
	by     map[xmlstream.Name]inlineFeature // by what asks for them
	always []inlineFeature
	vars   []string // sorted
}

type inlineFeature struct {
	extension string
	mod.Inline
}

func (t *inline) add(extension string, features []mod.Inline) error {
	for _, f := range features {
		in := inlineFeature{extension, f}
		if f.Var != "" {
			t.vars = append(t.vars, f.Var)
		}
		if len(f.Requests) == 0 {
			t.always = append(t.always, in)
		}
		for _, n := range f.Requests {
			if was, dup := t.by[n]; dup {
				return fmt.Errorf("extensions %s and %s both answer {%s}%s in a bind", was.extension, extension, n.Space, n.Local)
			}
			if t.by == nil {
				t.by = make(map[xmlstream.Name]inlineFeature)
			}
			t.by[n] = in
		}
	}
	slices.Sort(t.vars)
	t.vars = slices.Compact(t.vars)
	return nil
}

// InlineFeatures returns the names of what clients may set up while they bind, sorted. The slice is not to be changed.
func (h *Host) InlineFeatures() []string { return h.t.inline.vars }

// Inline does for a new session what its client asked for in <bind/>, of which requests are the children, and what is done
// at each bind. It returns the children of <bound/>. A request that nobody knows is left out, and so is the second one for
// the same.
func (h *Host) Inline(ctx context.Context, s *session.Session, requests []*xmlstream.Element) []*xmlstream.Element {
	var bound []*xmlstream.Element
	run := func(f inlineFeature, request *xmlstream.Element) {
		defer func() {
			if r := recover(); r != nil {
				h.recovered(f.extension, r)
			}
		}()
		if e := f.Func(ctx, s, request); e != nil {
			bound = append(bound, e)
		}
	}
	for _, f := range h.t.inline.always {
		run(f, nil)
	}
	seen := make(map[xmlstream.Name]bool)
	for _, r := range requests {
		f, ok := h.t.inline.by[r.Name]
		if !ok || seen[r.Name] {
			continue
		}
		seen[r.Name] = true
		run(f, r)
	}
	return bound
}
