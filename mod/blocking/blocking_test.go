package blocking

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod"
	"sabir/mod/modtest"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

const juliet = "juliet@localhost/balcony"

func newHost(t *testing.T, d db.DB, opts ...modtest.Option) *modtest.Host {
	return modtest.New(t, Info, append([]modtest.Option{modtest.WithDB(d, db.Migrate)}, opts...)...)
}

func command(name string, items ...string) string {
	x := "<" + name + " xmlns='urn:xmpp:blocking'>"
	for _, i := range items {
		x += "<item jid='" + i + "'/>"
	}
	return x + "</" + name + ">"
}

const ok = "<iq type='result'/>"

func expectList(t *testing.T, h *modtest.Host, from string, items ...string) {
	t.Helper()
	modtest.Expect(t, h.Get(from, "", command("blocklist")), "<iq type='result' to='"+from+"'>"+command("blocklist", items...)+"</iq>")
}

func TestList(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := newHost(t, d)
		h.Login(juliet)
		expectList(t, h, juliet)
		modtest.Expect(t, h.Set(juliet, "", command("block", "Romeo@Montague.example", "iago@shakespeare.example")), ok)
		modtest.Expect(t, h.Set(juliet, "", command("block", "romeo@montague.example", "spam.example")), ok)
		expectList(t, h, juliet, "romeo@montague.example", "iago@shakespeare.example", "spam.example")
		modtest.Expect(t, h.Set(juliet, "", command("unblock", "spam.example", "nobody@localhost")), ok)
		expectList(t, h, juliet, "romeo@montague.example", "iago@shakespeare.example")
		expectList(t, h, "nurse@localhost/hall")

		again := newHost(t, d) // what is on disk, without the cache
		expectList(t, again, juliet, "romeo@montague.example", "iago@shakespeare.example")
		modtest.Expect(t, again.Set(juliet, "", command("unblock")), ok)
		expectList(t, again, juliet)
		expectList(t, newHost(t, d), juliet)
	})
}

func TestErrors(t *testing.T) {
	h := newHost(t, dbtest.SQLite(t), modtest.WithConfig(func(c *Config) { c.Items = 2 }))
	modtest.ExpectError(t, h.Set(juliet, "", command("block")), stanza.Modify, stanza.BadRequest)
	modtest.ExpectError(t, h.Set(juliet, "", "<block xmlns='urn:xmpp:blocking'><item/></block>"), stanza.Modify, stanza.BadRequest)
	modtest.ExpectError(t, h.Set(juliet, "", "<unblock xmlns='urn:xmpp:blocking'><item/></unblock>"), stanza.Modify, stanza.BadRequest)
	modtest.ExpectError(t, h.Set(juliet, "", command("block", "a@b", "@@")), stanza.Modify, stanza.JIDMalformed)
	modtest.ExpectError(t, h.Set(juliet, "", command("block", "a", "b", "c")), stanza.Cancel, stanza.ResourceConstraint)
	expectList(t, h, juliet) // nothing of it was done
	modtest.Expect(t, h.Set(juliet, "", command("block", "a", "b", "a")), ok)
	modtest.ExpectError(t, h.Set(juliet, "", command("block", "c")), stanza.Cancel, stanza.ResourceConstraint)
	modtest.Expect(t, h.Set(juliet, "", command("block", "a")), ok)
	expectList(t, h, juliet, "a", "b")
	// Nobody else has a way to the list.
	modtest.ExpectError(t, h.Get("romeo@localhost/a", "juliet@localhost", command("blocklist")), stanza.Cancel, stanza.ServiceUnavailable)
	modtest.ExpectError(t, h.Set("romeo@localhost/a", "juliet@localhost", command("unblock")), stanza.Cancel, stanza.ServiceUnavailable)
}

func TestPushes(t *testing.T) {
	h := newHost(t, dbtest.SQLite(t))
	a, b, c := h.Login(juliet), h.Login("juliet@localhost/chamber"), h.Login("juliet@localhost/garden")
	expectList(t, h, juliet)
	expectList(t, h, "juliet@localhost/chamber")
	for _, command := range []string{command("block", "x", "y"), command("unblock", "x"), command("unblock")} {
		modtest.Expect(t, h.Set(juliet, "", command), ok)
		modtest.ExpectAll(t, a.Take(), "<iq type='set' to='juliet@localhost/balcony' from='juliet@localhost' id='{any}'>"+command+"</iq>")
		modtest.ExpectAll(t, b.Take(), "<iq type='set' to='juliet@localhost/chamber' from='juliet@localhost' id='{any}'>"+command+"</iq>")
		modtest.ExpectAll(t, c.Take())
	}
}

func TestMatching(t *testing.T) {
	for item, want := range map[string]string{
		"u@d/r": "u@d/r",
		"u@d":   "u@d u@d/r u@d/s",
		"d/r":   "d/r",
		"d":     "d d/r d/s u@d u@d/r u@d/s v@d",
	} {
		s := set(nil).with([]jid.JID{jid.MustParse(item)})
		var got []string
		for _, j := range []string{"d", "d/r", "d/s", "e", "s.d", "u@d", "u@d/r", "u@d/s", "u@e", "v@d"} {
			if s.blocks(jid.MustParse(j)) {
				got = append(got, j)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s blocks %v, want %s", item, got, want)
		}
	}
	if (set{}).blocks(jid.MustParse("d")) || set(nil).with([]jid.JID{jid.MustParse("d")}).blocks(jid.JID{}) {
		t.Error("an empty set or an empty address matches")
	}
}

// stanzaOf makes a stanza of each kind and type.
func stanzaOf(t *testing.T, from, to, kind, typ string) *stanza.Stanza {
	t.Helper()
	x := "<" + kind + " id='1' from='" + from + "' to='" + to + "'"
	if typ != "" {
		x += " type='" + typ + "'"
	}
	return modtest.Stanza(t, x+"><a xmlns='urn:a'/></"+kind+">")
}

func TestInbound(t *testing.T) {
	h := newHost(t, dbtest.SQLite(t))
	h.Login(juliet)
	modtest.Expect(t, h.Set(juliet, "", command("block", "romeo@localhost", "localhost", "juliet@localhost")), ok)
	for _, c := range []struct {
		kind, typ string
		want      stanza.Condition
	}{
		{"message", "", stanza.ServiceUnavailable},
		{"message", "chat", stanza.ServiceUnavailable},
		{"message", "headline", stanza.ServiceUnavailable},
		{"message", "groupchat", "drop"},
		{"message", "error", "drop"},
		{"presence", "", "drop"},
		{"presence", "unavailable", "drop"},
		{"presence", "subscribe", "drop"},
		{"presence", "subscribed", "drop"},
		{"presence", "unsubscribe", "drop"},
		{"presence", "unsubscribed", "drop"},
		{"presence", "probe", "drop"},
		{"presence", "error", "drop"},
		{"iq", "get", stanza.ServiceUnavailable},
		{"iq", "set", stanza.ServiceUnavailable},
		{"iq", "result", "drop"},
		{"iq", "error", "drop"},
	} {
		for _, to := range []string{"juliet@localhost", juliet} {
			got := modtest.Condition(t, h.Admit(h.Pass(mod.In, stanzaOf(t, "romeo@localhost/garden", to, c.kind, c.typ))))
			if got != c.want {
				t.Errorf("%s of type %q from a blocked address to %s: %q, want %q", c.kind, c.typ, to, got, c.want)
			}
			for _, from := range []string{"juliet@localhost/chamber", "juliet@localhost", "localhost", "nurse@elsewhere.example/a"} {
				if err := h.Admit(h.Pass(mod.In, stanzaOf(t, from, to, c.kind, c.typ))); err != nil {
					t.Errorf("%s of type %q from %s: %v", c.kind, c.typ, from, err)
				}
			}
		}
	}
	if err := h.Admit(h.Pass(mod.In, stanzaOf(t, "romeo@localhost/garden", "localhost", "message", "chat"))); err != nil {
		t.Errorf("to the host: %v", err)
	}
	modtest.Expect(t, h.Set(juliet, "", command("unblock")), ok)
	if err := h.Admit(h.Pass(mod.In, stanzaOf(t, "romeo@localhost/garden", juliet, "message", "chat"))); err != nil {
		t.Errorf("after the unblock: %v", err)
	}
}

func TestOutbound(t *testing.T) {
	h := newHost(t, dbtest.SQLite(t))
	h.Login(juliet)
	modtest.Expect(t, h.Set(juliet, "", command("block", "romeo@localhost", "localhost", "juliet@localhost")), ok)
	for _, to := range []string{"romeo@localhost", "romeo@localhost/garden"} {
		s := stanzaOf(t, juliet, to, "message", "chat")
		err := h.Admit(h.Pass(mod.Out, s))
		e, isError := err.(*stanza.Error)
		if !isError {
			t.Fatalf("to %s: %v", to, err)
		}
		modtest.Expect(t, s.ErrorReply(e), "<message type='error' from='"+to+"' to='"+juliet+"'><error type='cancel'>"+
			"<not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"+
			"<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>{any}</text><blocked xmlns='urn:xmpp:blocking:errors'/></error></message>")
		for _, c := range [][2]string{{"iq", "get"}, {"iq", "set"}, {"presence", ""}, {"presence", "subscribe"}, {"message", ""}} {
			if got := modtest.Condition(t, h.Admit(h.Pass(mod.Out, stanzaOf(t, juliet, to, c[0], c[1])))); got != stanza.NotAcceptable {
				t.Errorf("%s of type %q to %s: %q", c[0], c[1], to, got)
			}
		}
		p := h.Pass(mod.Out, stanzaOf(t, juliet, to, "presence", ""))
		p.Session = nil // as when the server broadcasts
		if got := modtest.Condition(t, h.Admit(p)); got != "drop" {
			t.Errorf("presence made by the server to %s: %q", to, got)
		}
	}
	for _, to := range []string{"juliet@localhost/chamber", "juliet@localhost", "localhost", "nurse@elsewhere.example"} {
		if err := h.Admit(h.Pass(mod.Out, stanzaOf(t, juliet, to, "message", "chat"))); err != nil {
			t.Errorf("to %s: %v", to, err)
		}
	}
	broadcast := modtest.Stanza(t, "<presence from='"+juliet+"'/>")
	if err := h.Admit(h.Pass(mod.Out, broadcast)); err != nil {
		t.Errorf("a broadcast: %v", err)
	}
}

func TestPresence(t *testing.T) {
	h := newHost(t, dbtest.SQLite(t))
	for c, sub := range map[string]mod.Subscription{"romeo@m.example": mod.SubBoth, "a@m.example": mod.SubFrom, "b@m.example": mod.SubTo, "c@m.example": mod.SubNone, "d@other.example": mod.SubBoth} {
		h.SetContact("juliet@localhost", c, sub)
	}
	one := h.Login(juliet)
	h.Available(one, 3, "<show>away</show>")
	two := h.Online("juliet@localhost/chamber", 0)
	h.Login("juliet@localhost/silent")
	one.Direct(jid.MustParse("stranger@m.example/x"), true)
	one.Direct(jid.MustParse("room@other.example/me"), true)
	two.Direct(jid.MustParse("romeo@m.example"), true)

	gone := func(from, to string) string {
		return "<presence type='unavailable' from='juliet@localhost/" + from + "' to='" + to + "'/>"
	}
	back := func(from, to, children string) string {
		return "<presence from='juliet@localhost/" + from + "' to='" + to + "'>" + children + "</presence>"
	}
	modtest.Expect(t, h.Set(juliet, "", command("block", "a@m.example", "c@m.example")), ok)
	modtest.ExpectAll(t, h.Routed(), gone("balcony", "a@m.example"), gone("chamber", "a@m.example"))
	modtest.Expect(t, h.Set(juliet, "", command("block", "m.example")), ok)
	modtest.ExpectAll(t, h.Routed(), gone("balcony", "romeo@m.example"), gone("balcony", "stranger@m.example/x"), gone("chamber", "romeo@m.example"))
	if d := one.Directed(); len(d) != 1 || d[0].String() != "room@other.example/me" {
		t.Errorf("directed presence is remembered as %v", d)
	}
	modtest.Expect(t, h.Set(juliet, "", command("block", "m.example", "d@other.example/phone")), ok)
	modtest.ExpectAll(t, h.Routed(), gone("balcony", "d@other.example/phone"), gone("chamber", "d@other.example/phone"))

	// a@m.example stays blocked by its domain.
	modtest.Expect(t, h.Set(juliet, "", command("unblock", "a@m.example")), ok)
	modtest.ExpectAll(t, h.Routed())
	h.Unavailable(two)
	modtest.Expect(t, h.Set(juliet, "", command("unblock")), ok)
	modtest.ExpectAll(t, h.Routed(), back("balcony", "a@m.example", "<show>away</show>"),
		back("balcony", "romeo@m.example", "<show>away</show>"), back("balcony", "d@other.example/phone", "<show>away</show>"))
}

// router is a host whose Route is seen at once.
type router struct {
	*modtest.Host
	route func(*stanza.Stanza)
}

func (r router) Route(_ context.Context, s *stanza.Stanza) { r.route(s) }

// The order in which things happen lets the unavailable presence through, and nothing before or after the list.
func TestAdmitDuringBlock(t *testing.T) {
	h := newHost(t, dbtest.SQLite(t))
	h.SetContact("juliet@localhost", "romeo@localhost", mod.SubBoth)
	h.Online(juliet, 0)
	var during error
	r := router{h, func(s *stanza.Stanza) {
		p := h.Pass(mod.Out, s)
		p.Session = nil
		during = h.Admit(p)
	}}
	hooks, err := newBlocking(r, &Config{Items: 10, Cache: 10})
	if err != nil {
		t.Fatal(err)
	}
	h.Hooks = hooks
	during = fmt.Errorf("nothing was sent")
	modtest.Expect(t, h.Set(juliet, "", command("block", "romeo@localhost")), ok)
	if during != nil {
		t.Errorf("the unavailable presence: %v", during)
	}
	during = fmt.Errorf("nothing was sent")
	modtest.Expect(t, h.Set(juliet, "", command("unblock", "romeo@localhost")), ok)
	if during != nil {
		t.Errorf("the presence after the unblock: %v", during)
	}
}

func TestAccountRemoved(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := newHost(t, d)
		modtest.Expect(t, h.Set(juliet, "", command("block", "romeo@localhost")), ok)
		modtest.Expect(t, h.Set("nurse@localhost/a", "", command("block", "romeo@localhost")), ok)
		h.Remove("juliet")
		expectList(t, h, juliet)
		expectList(t, newHost(t, d), juliet)
		expectList(t, h, "nurse@localhost/a", "romeo@localhost")
	})
}

func TestConfig(t *testing.T) {
	for _, c := range []Config{{Items: 0, Cache: 1}, {Items: 1, Cache: 0}} {
		if c.Validate() == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}
