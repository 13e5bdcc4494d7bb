package mam

import (
	"fmt"
	"strings"
	"testing"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod"
	"sabir/mod/modtest"
	wire "sabir/xmpp/payload/mam"
	"sabir/xmpp/payload/sid"
	"sabir/xmpp/stanza"
)

func newHost(t *testing.T, d db.DB, opts ...modtest.Option) *modtest.Host {
	return modtest.New(t, Info, append([]modtest.Option{modtest.WithDB(d, db.Migrate)}, opts...)...)
}

const (
	romeo  = "romeo@localhost/orchard"
	juliet = "juliet@localhost/balcony"
)

func message(from, to, typ, id, children string) string {
	return "<message from='" + from + "' to='" + to + "' type='" + typ + "' id='" + id + "'>" + children + "</message>"
}

func chat(id, children string) string {
	return message(romeo, "juliet@localhost", "chat", id, children)
}

// pass takes a message through the phases of one side and returns its Pass.
func pass(t *testing.T, h *modtest.Host, side mod.Side, xml string, targets ...mod.Session) *mod.Pass {
	t.Helper()
	p, err := h.Run(side, modtest.Stanza(t, xml), targets...)
	if err != nil {
		t.Fatalf("%s: %v", xml, err)
	}
	h.Settle(p)
	return p
}

// query asks the archive of a session's account, and returns the results and the <fin/>, or the error.
func query(t *testing.T, h *modtest.Host, s *modtest.Session, inner string) ([]*stanza.Stanza, *stanza.Stanza) {
	t.Helper()
	s.Take()
	answer := h.Set(s.JID().String(), "", "<query xmlns='"+wire.NS+"'>"+inner+"</query>")
	return s.Take(), answer
}

// bodies returns what stands in the results: the body of each, or what else it has.
func bodies(results []*stanza.Stanza) string {
	var out []string
	for _, r := range results {
		m := r.Child(wire.NS, "result").Child("urn:xmpp:forward:0", "forwarded").Child(stanza.NSClient, "message")
		switch b := m.ChildText(stanza.NSClient, "body"); {
		case b != "":
			out = append(out, b)
		case m.Child(nsRetract, "retracted") != nil:
			out = append(out, "retracted by "+m.Child(nsRetract, "retracted").Attr("id"))
		default:
			out = append(out, m.First().Name.Local)
		}
	}
	return strings.Join(out, ",")
}

// Both sides have a message, each with an id of its own, which the wire tells to the owner alone.
func TestSides(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := newHost(t, d)
		r, j := h.Login(romeo), h.Login(juliet)
		out, in := pass(t, h, mod.Out, chat("1", "<body>b</body>")), pass(t, h, mod.In, chat("1", "<body>b</body>"))
		for p, s := range map[*mod.Pass]*modtest.Session{out: r, in: j} {
			results, _ := query(t, h, s, "")
			if bodies(results) != "b" {
				t.Fatalf("%s has %q", s.JID(), bodies(results))
			}
			id := results[0].Child(wire.NS, "result").Attr("id")
			if sid.Of(p.Stanza, p.Account) != id || p.Archived.ID != id || strings.Count(p.Stanza.String(), "<stanza-id ") != 1 {
				t.Errorf("%s: %s is archived as %s", s.JID(), p.Stanza, id)
			}
		}
		if out.Archived.ID == in.Archived.ID {
			t.Error("both have the same id")
		}
	})
}

// What comes a second time, because a session ended before it was written, is not archived again, and not bounced.
func TestAgain(t *testing.T) {
	h := newHost(t, dbtest.SQLite(t))
	j := h.Login(juliet)
	p := pass(t, h, mod.In, chat("1", "<body>b</body>"), j)
	again := h.Pass(mod.In, p.Stanza)
	if err := h.Record(again); err != nil {
		t.Fatal(err)
	}
	h.Settle(again)
	if !again.Stored || again.Archived.ID != p.Archived.ID || strings.Count(again.Stanza.String(), "<stanza-id ") != 1 {
		t.Errorf("stored %v, %s", again.Stored, again.Stanza)
	}
	if results, _ := query(t, h, j, ""); len(results) != 1 {
		t.Errorf("%d are archived", len(results))
	}
}

// Which messages are archived, by the table of the package comment.
func TestKinds(t *testing.T) {
	h := newHost(t, dbtest.SQLite(t))
	for _, c := range []struct {
		typ, children string
		want          bool
	}{
		{"chat", "<body>b</body>", true},
		{"normal", "<body>b</body>", true},
		{"normal", "<subject>b</subject>", true},
		{"headline", "<body>b</body>", false},
		{"groupchat", "<body>b</body>", false},
		{"chat", "<composing xmlns='http://jabber.org/protocol/chatstates'/>", false},
		{"chat", "<thread>t</thread>", false},
		{"chat", "<encrypted xmlns='eu.siacs.conversations.axolotl'/>", true},
		{"chat", "<encrypted xmlns='urn:xmpp:omemo:2'/>", true},
		{"chat", "<openpgp xmlns='urn:xmpp:openpgp:0'/>", true},
		{"chat", "<x xmlns='jabber:x:encrypted'/>", true},
		{"chat", "<received xmlns='urn:xmpp:receipts' id='1'/>", true},
		{"chat", "<request xmlns='urn:xmpp:receipts'/>", false},
		{"chat", "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>", true},
		{"chat", "<markable xmlns='urn:xmpp:chat-markers:0'/>", false},
		{"chat", "<reactions xmlns='urn:xmpp:reactions:0' id='1'/>", true},
		{"chat", "<retract xmlns='urn:xmpp:message-retract:1' id='1'/>", true},
		{"chat", "<finish xmlns='urn:xmpp:jingle-message:0' id='1'/>", true},
		{"chat", "<invite xmlns='urn:xmpp:call-invites:0'/>", true},
		{"normal", "<x xmlns='jabber:x:conference' jid='room@x'/>", true},
		{"normal", "<x xmlns='http://jabber.org/protocol/muc#user'><invite from='a@b'/></x>", true},
		{"normal", "<x xmlns='http://jabber.org/protocol/muc#user'><status code='104'/></x>", false},
		{"normal", "<event xmlns='http://jabber.org/protocol/pubsub#event'/>", false},
		{"chat", "<body>b</body><no-store xmlns='urn:xmpp:hints'/>", false},
		{"chat", "<body>b</body><no-permanent-store xmlns='urn:xmpp:hints'/>", false},
		{"chat", "<body>b</body><no-copy xmlns='urn:xmpp:hints'/>", true},
		{"chat", "<y xmlns='urn:x'/><store xmlns='urn:xmpp:hints'/>", true},
		{"headline", "<y xmlns='urn:x'/><store xmlns='urn:xmpp:hints'/>", false},
		{"chat", "<store xmlns='urn:xmpp:hints'/><no-store xmlns='urn:xmpp:hints'/>", false},
	} {
		for side, peer := range map[mod.Side]string{mod.Out: "juliet@localhost", mod.In: "juliet@localhost"} {
			p := pass(t, h, side, message(romeo, peer, c.typ, "k", c.children))
			if got := p.Archived != nil; got != c.want {
				t.Errorf("side %d, %s %s: archived %v", side, c.typ, c.children, got)
			}
		}
	}
	for _, s := range []string{message("localhost", "juliet@localhost", "chat", "s", "<body>b</body>"), message("room@rooms.localhost/nick", "juliet@localhost", "chat", "s", "<body>b</body>")} {
		if p := pass(t, h, mod.Out, s); p.Archived != nil {
			t.Errorf("%s is archived for its sender, who is no user here", s)
		}
	}
}

// A retraction that comes with its message, in one commit, leaves a tombstone as well.
func TestRetractAtOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := newHost(t, d)
		j := h.Login(juliet)
		retract := "<retract xmlns='urn:xmpp:message-retract:1' id='1'/><body>taken back</body>"
		var passes []*mod.Pass
		var writes []func(mod.Tx) error
		for _, s := range []string{chat("1", "<body>oops</body>"), chat("2", retract)} {
			p := h.Pass(mod.In, modtest.Stanza(t, s))
			w, err := h.Hooks.Record[0].Func(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			passes, writes = append(passes, p), append(writes, w)
		}
		err := h.DB().Write(t.Context(), func(tx mod.Tx) error {
			for _, w := range writes {
				if err := w(tx); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range passes {
			h.Settle(p)
		}
		if results, _ := query(t, h, j, ""); bodies(results) != "retracted by 2,taken back" {
			t.Errorf("the archive has %q", bodies(results))
		}
	})
}

func TestRetractRules(t *testing.T) {
	h := newHost(t, dbtest.SQLite(t))
	j := h.Login(juliet)
	pass(t, h, mod.In, chat("1", "<body>a</body>"))
	pass(t, h, mod.In, chat("2", "<received xmlns='urn:xmpp:receipts' id='1'/>"))
	for i, s := range []string{
		strings.Replace(chat("r1", "<retract xmlns='urn:xmpp:message-retract:1' id='1'/>"), "romeo@localhost/orchard", "nurse@localhost/hall", 1), // somebody else
		strings.Replace(chat("", "<retract xmlns='urn:xmpp:message-retract:1' id='1'/>"), " id=''", "", 1),                                        // without an id
		chat("r3", "<retract xmlns='urn:xmpp:message-retract:1'/>"),
		chat("r4", "<retract xmlns='urn:xmpp:message-retract:1' id='2'/>"), // a receipt is no message
		chat("r5", "<retract xmlns='urn:xmpp:message-retract:1' id='9'/>"),
		chat("r6", "<retract xmlns='urn:xmpp:message-retract:0' id='1'/><body>old</body>"),
		chat("r7", "<body>x</body><retract xmlns='urn:xmpp:message-retract:1' id='r4'/>"), // nor is a retraction
	} {
		pass(t, h, mod.In, s)
		if results, _ := query(t, h, j, ""); strings.Contains(bodies(results), "retracted by") {
			t.Fatalf("%d: %s left %q", i, s, bodies(results))
		}
	}
	pass(t, h, mod.In, strings.Replace(chat("ok", "<retract xmlns='urn:xmpp:message-retract:1' id='1'/>"), "/orchard", "/garden", 1)) // another device of the sender
	if results, _ := query(t, h, j, ""); !strings.HasPrefix(bodies(results), "retracted by ok,") {
		t.Errorf("the archive has %q", bodies(results))
	}
	off := newHost(t, dbtest.SQLite(t), modtest.WithConfig(func(c *Config) { c.Tombstones = false }))
	s := off.Login(juliet)
	pass(t, off, mod.In, chat("1", "<body>a</body>"))
	pass(t, off, mod.In, chat("2", "<retract xmlns='urn:xmpp:message-retract:1' id='1'/>"))
	if results, _ := query(t, off, s, ""); bodies(results) != "a,retract" {
		t.Errorf("without tombstones the archive has %q", bodies(results))
	}
}

// Which queries before the first presence tell that the client has caught up, so that it is spared what waits.
func TestSpared(t *testing.T) {
	h := newHost(t, dbtest.SQLite(t), modtest.WithConfig(func(c *Config) { c.Page = 5 }))
	for i := range 8 {
		pass(t, h, mod.In, chat(fmt.Sprint(i), fmt.Sprintf("<body>%d</body>", i)))
	}
	set := func(s string) string { return "<set xmlns='http://jabber.org/protocol/rsm'>" + s + "</set>" }
	form := func(name, value string) string {
		return "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>" + wire.NS + "</value></field><field var='" + name + "'><value>" + value + "</value></field></x>"
	}
	for i, c := range []struct {
		inner string
		want  bool
	}{
		{"", false}, // the first page of two
		{set("<max>20</max>"), true},
		{set("<before/>"), true},
		{set("<before/><max>1</max>"), false}, // a look at the end
		{set("<max>0</max>"), false},
		{form("with", "romeo@localhost") + set("<max>20</max>"), false},
		{form("end", "2100-01-01T00:00:00Z") + set("<max>20</max>"), false},
		{form("start", "2020-01-01T00:00:00Z") + set("<max>20</max>"), true},
		{form("{urn:xmpp:fulltext:0}fulltext", "3"), false},
	} {
		s := h.Login(fmt.Sprintf("juliet@localhost/%d", i))
		if _, a := query(t, h, s, c.inner); a.Type != stanza.TypeResult {
			t.Fatalf("%s: %s", c.inner, a)
		}
		if got := len(h.Skipped()) > 0; got != c.want {
			t.Errorf("%s: spared %v", c.inner, got)
		}
	}
	online := h.Online("juliet@localhost/online", 0)
	query(t, h, online, set("<max>20</max>"))
	if len(h.Skipped()) > 0 {
		t.Error("a session that was available is spared")
	}
}

// A client that binds by Bind 2 is told where its archive ends, and is spared what waits.
func TestBound(t *testing.T) {
	h := newHost(t, dbtest.SQLite(t))
	s := h.Login(juliet)
	if x := h.Hooks.Inline[0].Func(t.Context(), s, nil); x.String() != "<metadata xmlns='"+wire.NS+"'/>" {
		t.Errorf("an empty archive is %s", x)
	}
	p := pass(t, h, mod.In, chat("1", "<body>a</body>"))
	h.Skipped()
	x := h.Hooks.Inline[0].Func(t.Context(), s, nil)
	if x.Child(wire.NS, "end").Attr("id") != p.Archived.ID || x.Child(wire.NS, "start").Attr("id") != p.Archived.ID || len(h.Skipped()) != 1 {
		t.Errorf("the bind tells %s", x)
	}
}

func TestPrefs(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := newHost(t, d, modtest.WithConfig(func(c *Config) { c.Default = wire.Roster }))
		s := h.Login(juliet)
		archived := func(from string) bool {
			return pass(t, h, mod.In, message(from, "juliet@localhost", "chat", "1", "<body>a</body>")).Archived != nil
		}
		if archived(romeo) {
			t.Error("somebody who is not in the roster is archived")
		}
		h.SetContact("juliet@localhost", "romeo@localhost", mod.SubNone)
		if !archived(romeo) {
			t.Error("a contact is not archived")
		}
		prefs := "<prefs xmlns='" + wire.NS + "' default='always'><always/><never><jid>romeo@localhost</jid></never></prefs>"
		if a := h.Set(s.JID().String(), "", prefs); a.Type != stanza.TypeResult || archived(romeo) || !archived("nurse@localhost") {
			t.Errorf("the preferences do not count: %s", a)
		}
		h.Remove("juliet")
		h.Login(juliet)
		if !archived(romeo) || archived("nurse@localhost") {
			t.Error("the preferences of a removed account count for the next one")
		}
		if results, _ := query(t, h, h.Login(juliet), ""); bodies(results) != "a" {
			t.Errorf("the next account of the name has %q", bodies(results))
		}
	})
	fixed := newHost(t, dbtest.SQLite(t), modtest.WithConfig(func(c *Config) { c.Prefs = false }))
	if a := fixed.Set(romeo, "", "<prefs xmlns='"+wire.NS+"' default='never'/>"); a.Err() == nil || a.Err().Condition != stanza.NotAllowed {
		t.Errorf("a server without preferences answers %s", a)
	}
}

func TestNoSearch(t *testing.T) {
	h := newHost(t, dbtest.SQLite(t), modtest.WithConfig(func(c *Config) { c.Search = false }))
	s := h.Login(juliet)
	pass(t, h, mod.In, chat("1", "<body>a</body>"))
	_, a := query(t, h, s, "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>"+wire.NS+"</value></field><field var='{urn:xmpp:fulltext:0}fulltext'><value>a</value></field></x>")
	if a.Err() == nil || a.Err().Condition != stanza.FeatureNotImplemented {
		t.Errorf("an archive that cannot be searched answers %s", a)
	}
}

func TestConfig(t *testing.T) {
	for _, f := range []func(*Config){
		func(c *Config) { c.Keep = -1 }, func(c *Config) { c.Default = "some" }, func(c *Config) { c.Page = 0 }, func(c *Config) { c.MaxPage = c.Page - 1 },
	} {
		c := defaults()
		f(c)
		if c.Validate() == nil {
			t.Errorf("%+v was taken", c)
		}
	}
	if err := defaults().Validate(); err != nil {
		t.Error(err)
	}
}
