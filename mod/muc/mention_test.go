package muc_test

import (
	"strings"
	"testing"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod/modtest"
	"sabir/xmpp/stanza"
)

// TestMentions: who is told of which mention.
func TestMentions(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		w := start(t, d)
		w.enter(romeo, "romeo")
		w.configure(romeo, "muc#roomconfig_forwardmentions", "1")
		for _, who := range []string{"juliet", "nurse"} {
			w.Set(romeo, garden, "<query xmlns='http://jabber.org/protocol/muc#admin'><item affiliation='member' jid='"+who+"@localhost' nick='"+strings.ToUpper(who)+"'/></query>")
		}
		w.enter("nurse@localhost/hall", "nurse")
		w.enter(juliet, "juliet")
		id := ""
		for _, s := range w.take(juliet) {
			if s.From.Resource() == "juliet" {
				id = idOf(s)
			}
		}
		w.must(juliet, "<presence type='unavailable' to='"+garden+"/juliet'/>")
		for _, c := range []struct {
			told bool
			xml  string
		}{
			{false, ""},
			{true, "<mention xmlns='urn:xmpp:mentions:0' occupantid='" + id + "'/>"},
			{true, "<mention xmlns='urn:xmpp:mentions:0' jid='juliet@localhost'/>"},
			{true, "<reference xmlns='urn:xmpp:reference:0' type='mention' uri='xmpp:juliet@localhost'/>"},
			{true, "<reference xmlns='urn:xmpp:reference:0' type='mention' uri='xmpp:" + garden + "/Juliet'/>"},
			{false, "<reference xmlns='urn:xmpp:reference:0' type='data' uri='xmpp:juliet@localhost'/>"},
			{false, "<mention xmlns='urn:xmpp:mentions:0' occupantid='other'/>"},
			{false, "<mention xmlns='urn:xmpp:mentions:0' jid='nurse@localhost'/>"}, // she is here
			{false, "<mention xmlns='urn:xmpp:mentions:0' jid='tybalt@localhost'/>"},
			{false, "<mention xmlns='urn:xmpp:mentions:0' jid='juliet@localhost'><active/></mention>"},
			{false, "<mention xmlns='urn:xmpp:mentions:0' mentions='urn:xmpp:mentions:0#channel'/>"},
			{false, strings.Repeat("<mention xmlns='urn:xmpp:mentions:0' jid='juliet@localhost'/>", 6)},
		} {
			w.take("juliet@localhost")
			w.must(romeo, "<message type='groupchat' to='"+garden+"'><body>x</body>"+c.xml+"</message>")
			got := w.take("juliet@localhost")
			if told := len(got) == 1 && got[0].Has("urn:xmpp:mmn:0", "mentions") && got[0].From.String() == garden; told != c.told || len(got) > 1 {
				t.Errorf("%s: %v", c.xml, got)
			}
		}
		for _, bad := range []string{"<field var='mentions#count'><value>51</value></field>", "<field var='mentions#hats'><value>all</value></field>"} {
			a := w.Set(romeo, garden, "<query xmlns='urn:xmpp:mentions:0'><x xmlns='jabber:x:data' type='submit'>"+bad+"</x></query>")
			modtest.ExpectError(t, a, stanza.Modify, stanza.NotAcceptable)
		}
		modtest.ExpectError(t, w.Set(romeo, garden, "<query xmlns='urn:xmpp:mentions:0'/>"), stanza.Modify, stanza.BadRequest)
		w.Stop()
	})
}
