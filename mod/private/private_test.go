package private

import (
	"strings"
	"testing"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod/modtest"
	"sabir/xmpp/stanza"
)

const hamlet = "hamlet@localhost/denmark"

func newHost(t *testing.T, d db.DB, opts ...modtest.Option) *modtest.Host {
	return modtest.New(t, Info, append([]modtest.Option{modtest.WithDB(d, db.Migrate)}, opts...)...)
}

func query(inner string) string { return "<query xmlns='jabber:iq:private'>" + inner + "</query>" }

const (
	ok     = "<iq type='result'/>"
	prefs  = "<exodus xmlns='exodus:prefs'><defaultnick>Hamlet &amp; Co</defaultnick><x:y xmlns:x='urn:x' x:a='1'/></exodus>"
	marks  = "<storage xmlns='storage:bookmarks'><conference jid='a@b'/></storage>"
	noMark = "<storage xmlns='storage:bookmarks'/>"
)

func TestKeep(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := newHost(t, d)
		modtest.Expect(t, h.Get(hamlet, "", query(noMark)), "<iq type='result'>"+query(noMark)+"</iq>")
		modtest.Expect(t, h.Set(hamlet, "", query(prefs+marks)), ok)
		modtest.Expect(t, h.Get(hamlet, "", query("<exodus xmlns='exodus:prefs'/>")), "<iq type='result'>"+query(prefs)+"</iq>")
		modtest.Expect(t, h.Get(hamlet, "hamlet@localhost", query(noMark)), "<iq type='result'>"+query(marks)+"</iq>")
		modtest.Expect(t, h.Set(hamlet, "", query(noMark)), ok)
		modtest.Expect(t, h.Get(hamlet, "", query(noMark)), "<iq type='result'>"+query(noMark)+"</iq>")
		modtest.Expect(t, h.Get("ophelia@localhost/a", "", query("<exodus xmlns='exodus:prefs'/>")), "<iq type='result'>"+query("<exodus xmlns='exodus:prefs'/>")+"</iq>")
		two := "<a xmlns='urn:a'>1</a><a xmlns='urn:a'>2</a>"
		modtest.Expect(t, h.Set(hamlet, "", query(two)), ok)
		modtest.Expect(t, h.Get(hamlet, "", query("<a xmlns='urn:a'/>")), "<iq type='result'>"+query(two)+"</iq>")
	})
}

func TestErrors(t *testing.T) {
	h := newHost(t, dbtest.SQLite(t))
	for _, typ := range []string{stanza.TypeGet, stanza.TypeSet} {
		for _, reserved := range []string{"<x xmlns='jabber:x:data'/>", "<x xmlns='http://jabber.org/protocol/muc'/>", "<vCard xmlns='vcard-temp'/>", "<x/>", "<x xmlns=''/>"} {
			modtest.ExpectError(t, h.IQ(typ, hamlet, "", query(reserved)), stanza.Modify, stanza.NotAcceptable)
		}
		// Neither the existence of an account nor its data show.
		for _, other := range []string{"juliet@localhost", "nobody@localhost"} {
			modtest.ExpectError(t, h.IQ(typ, hamlet, other, query(prefs)), stanza.Auth, stanza.Forbidden)
		}
	}
	modtest.ExpectError(t, h.Set(hamlet, "", query("")), stanza.Modify, stanza.NotAcceptable)
	modtest.ExpectError(t, h.Get(hamlet, "", query("")), stanza.Modify, stanza.BadRequest)
	modtest.ExpectError(t, h.Get(hamlet, "", query(prefs+marks)), stanza.Modify, stanza.BadRequest)
}

func TestLimits(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := newHost(t, d, modtest.WithConfig(func(c *Config) { c.Elements, c.Bytes = 2, 1000 }))
		modtest.ExpectError(t, h.Set(hamlet, "", query("<a xmlns='urn:a'>"+strings.Repeat("x", 1000)+"</a>")), stanza.Cancel, stanza.ResourceConstraint)
		modtest.Expect(t, h.Set(hamlet, "", query("<a xmlns='urn:a'/><b xmlns='urn:a'/>")), ok)
		modtest.ExpectError(t, h.Set(hamlet, "", query("<a xmlns='urn:a'>new</a><c xmlns='urn:a'/>")), stanza.Cancel, stanza.ResourceConstraint)
		modtest.Expect(t, h.Get(hamlet, "", query("<a xmlns='urn:a'/>")), "<iq type='result'>"+query("<a xmlns='urn:a'/>")+"</iq>") // nothing of it was done
		modtest.Expect(t, h.Set(hamlet, "", query("<a xmlns='urn:a'>new</a>")), ok)
		modtest.Expect(t, h.Set("ophelia@localhost/a", "", query("<a xmlns='urn:a'/>")), ok)
	})
}

func TestAccountRemoved(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := newHost(t, d, modtest.WithAccounts("hamlet", "ophelia"))
		for _, who := range []string{hamlet, "ophelia@localhost/a"} {
			modtest.Expect(t, h.Set(who, "", query(marks)), ok)
		}
		h.Remove("hamlet")
		modtest.Expect(t, h.Get(hamlet, "", query(noMark)), "<iq type='result'>"+query(noMark)+"</iq>")
		modtest.Expect(t, h.Get("ophelia@localhost/a", "", query(noMark)), "<iq type='result'>"+query(marks)+"</iq>")
	})
}

func TestConfig(t *testing.T) {
	for _, c := range []Config{{Elements: 0, Bytes: 1}, {Elements: 1, Bytes: 0}} {
		if c.Validate() == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}
