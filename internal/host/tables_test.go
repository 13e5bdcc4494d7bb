package host_test

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"sabir/internal/host"
	"sabir/internal/session"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/dataform"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

func info(name string, h *mod.Hooks) host.Enabled {
	return host.Enabled{Info: mod.Info{Name: name, New: func(mod.Host, any) (*mod.Hooks, error) { return h, nil }}}
}

func build(t *testing.T, shuffle func(int, func(i, j int)), ext ...host.Enabled) (*host.Host, error) {
	t.Helper()
	return host.New(host.Options{
		Domain: jid.MustParse("b"), Log: slog.New(slog.DiscardHandler), Directory: session.NewDirectory(), Extensions: ext, Shuffle: shuffle,
	})
}

func ping(at mod.Where) *mod.Hooks {
	return &mod.Hooks{IQ: []mod.IQHandler{{At: at, Space: "urn:p", Local: "p", Type: stanza.TypeGet}}}
}

// TestConflicts: two that answer the same stop the start, and the message names both.
func TestConflicts(t *testing.T) {
	presence := &mod.Hooks{Presence: []mod.PresenceHandler{{Side: mod.In, Types: []string{stanza.TypeProbe}}}}
	for name, c := range map[string]struct{ a, b *mod.Hooks }{
		"iq":       {ping(mod.AtHost | mod.AtAccount), ping(mod.AtAccount)},
		"presence": {presence, presence},
		"roster":   {&mod.Hooks{Roster: noRoster{}}, &mod.Hooks{Roster: noRoster{}}},
	} {
		_, err := build(t, nil, info("one", c.a), info("two", c.b))
		if err == nil || !strings.Contains(err.Error(), "one") || !strings.Contains(err.Error(), "two") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := build(t, nil, info("one", ping(mod.AtHost)), info("two", ping(mod.AtAccount))); err != nil {
		t.Errorf("different places are no conflict: %v", err)
	}
}

type noRoster struct{ mod.Roster }

func admit(after ...string) *mod.Hooks {
	return &mod.Hooks{Admit: []mod.AdmitHook{{When: mod.When{Side: mod.In, Kinds: mod.Messages, After: after}}}}
}

// TestOrder: whatever the order of the list, After is respected.
func TestOrder(t *testing.T) {
	for range 50 {
		h, err := build(t, rand.Shuffle, info("c", admit("b")), info("a", admit()), info("b", admit("a", "absent")), info("d", admit("a")))
		if err != nil {
			t.Fatal(err)
		}
		var order []string
		for _, k := range h.Phases(mod.In, stanza.Message).Admit {
			order = append(order, k.Extension)
		}
		at := func(name string) int { return slices.Index(order, name) }
		if len(order) != 4 || at("a") > at("b") || at("b") > at("c") || at("a") > at("d") {
			t.Fatalf("order %v", order)
		}
		if n := len(h.Phases(mod.Out, stanza.Message).Admit) + len(h.Phases(mod.In, stanza.IQ).Admit); n != 0 {
			t.Fatalf("%d hooks run where they were not asked for", n)
		}
	}
	if _, err := build(t, nil, info("a", admit("b")), info("b", admit("a"))); err == nil {
		t.Error("a cycle was accepted")
	}
}

// TestDisco: what is handled is advertised, and nothing else.
func TestDisco(t *testing.T) {
	h, err := build(t, nil, info("p", ping(mod.AtHost)), info("q", &mod.Hooks{
		IQ:         []mod.IQHandler{{At: mod.AtOwn, Space: "urn:own", Local: "x", Type: stanza.TypeSet}, {At: mod.AtHost, Space: "urn:quiet", Local: "x", Type: stanza.TypeGet, Quiet: true}},
		Features:   []mod.Feature{{At: mod.AtHost, Var: "urn:extra"}},
		Identities: []mod.IdentityAt{{At: mod.AtHost, Identity: mod.Identity{Category: "server", Type: "im"}}},
	}))
	if err != nil {
		t.Fatal(err)
	}
	if got := h.Disco(mod.AtHost).Features; !slices.Equal(got, []string{"urn:extra", "urn:p"}) {
		t.Errorf("the host has %v", got)
	}
	if got := h.Disco(mod.AtAccount).Features; !slices.Equal(got, []string{"urn:own"}) {
		t.Errorf("an account has %v", got)
	}
	if _, ok := h.IQ(mod.AtHost, stanza.TypeGet, xmlstream.Name{Space: "urn:p", Local: "p"}); !ok {
		t.Error("the handler is not found")
	}
	if _, ok := h.IQ(mod.AtHost, stanza.TypeSet, xmlstream.Name{Space: "urn:p", Local: "p"}); ok {
		t.Error("a handler of get answers set")
	}
}

// TestForms: of a FORM_TYPE there is one form, whoever has fields for it.
func TestForms(t *testing.T) {
	forms := func(list ...*dataform.Form) *mod.Hooks {
		return &mod.Hooks{Forms: func(mod.Where) (out []*xmlstream.Element) {
			for _, f := range list {
				out = append(out, f.Element())
			}
			return out
		}}
	}
	field := func(name string) dataform.Field { return dataform.Field{Var: name, Values: []string{name}} }
	h, err := build(t, nil, info("p", forms(dataform.New(dataform.TypeResult, "urn:a", field("1")))),
		info("q", forms(dataform.New(dataform.TypeResult, "urn:b", field("2")), dataform.New(dataform.TypeResult, "urn:a", field("3")))))
	if err != nil {
		t.Fatal(err)
	}
	got := h.Disco(mod.AtHost).Forms
	want := []*dataform.Form{dataform.New(dataform.TypeResult, "urn:a", field("1"), field("3")), dataform.New(dataform.TypeResult, "urn:b", field("2"))}
	if len(got) != 2 || !got[0].Equal(want[0].Element()) || !got[1].Equal(want[1].Element()) {
		t.Errorf("got %s", got)
	}
}

// TestStart: where one extension cannot start, those before it are stopped.
func TestStart(t *testing.T) {
	var said []string
	say := func(s string) func() { return func() { said = append(said, s) } }
	h, err := build(t, nil,
		info("a", &mod.Hooks{Start: func(context.Context) error { say("a up")(); return nil }, Stop: say("a down")}),
		info("b", &mod.Hooks{Start: func(context.Context) error { return stanza.Err(stanza.Conflict, "no") }, Stop: say("b down")}))
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "extension b") {
		t.Errorf("start: %v", err)
	}
	if got := strings.Join(said, ", "); got != "a up, a down" {
		t.Errorf("said %s", got)
	}
}
