package host_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"sabir/internal/session"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/xmlstream"
)

// TestInline: what is asked for is done once each, in the order of the client; what nobody knows is left out, and a panic
// stays with its extension.
func TestInline(t *testing.T) {
	var log []string
	feature := func(name string, requests ...xmlstream.Name) mod.Inline {
		return mod.Inline{Var: name, Requests: requests, Func: func(_ context.Context, _ mod.Session, r *xmlstream.Element) *xmlstream.Element {
			asked := "-"
			if r != nil {
				asked = r.Name.Local
			}
			log = append(log, name+":"+asked)
			if name == "quiet" {
				return nil
			}
			return xmlstream.El("urn:x", name)
		}}
	}
	name := func(local string) xmlstream.Name { return xmlstream.Name{Space: "urn:x", Local: local} }
	h, err := build(t, nil,
		info("one", &mod.Hooks{Inline: []mod.Inline{feature("b", name("on"), name("off")), feature("")}}),
		info("two", &mod.Hooks{Inline: []mod.Inline{feature("quiet", name("hush")), {Var: "a", Requests: []xmlstream.Name{name("boom")},
			Func: func(context.Context, mod.Session, *xmlstream.Element) *xmlstream.Element { panic("boom") }}}}),
	)
	if err != nil {
		t.Fatal(err)
	}
	if got := h.InlineFeatures(); !slices.Equal(got, []string{"a", "b", "quiet"}) {
		t.Errorf("offered: %v", got)
	}
	s := session.New(jid.MustParse("u@b/r"), session.NewQueue(session.QueueOptions{}), time.Time{}, nil)
	var asked []*xmlstream.Element
	for _, l := range []string{"off", "nobody", "boom", "hush", "on", "off"} {
		asked = append(asked, xmlstream.El("urn:x", l))
	}
	bound := h.Inline(t.Context(), s, asked)
	if got := strings.Join(log, " "); got != ":- b:off quiet:hush b:on" {
		t.Errorf("ran: %s", got)
	}
	if len(bound) != 3 {
		t.Errorf("answered: %v", bound)
	}
}

// TestInlineConflict: two that answer the same request stop the start, and the message names both.
func TestInlineConflict(t *testing.T) {
	h := &mod.Hooks{Inline: []mod.Inline{{Var: "a", Requests: []xmlstream.Name{{Space: "urn:x", Local: "on"}}}}}
	if _, err := build(t, nil, info("one", h), info("two", h)); err == nil || !strings.Contains(err.Error(), "one") || !strings.Contains(err.Error(), "two") {
		t.Error(err)
	}
}
