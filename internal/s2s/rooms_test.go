package s2s_test

import (
	"strings"
	"testing"

	"sabir/internal/config"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// TestRoom: users of two servers meet in a room of one of them, and who is there from a server that is gone is taken out
// (XEP-0045#service-error-kick).
func TestRoom(t *testing.T) {
	w := newWorld(t)
	a, b := w.start("queue_time = \"2s\"", "a.example"), w.start("", "b.example")
	w.Point(t, "conference.a.example", a.ports[config.S2S], a.ports[config.S2STLS])
	romeo, juliet := a.login("romeo@a.example/x"), b.login("juliet@b.example/y")
	const muc, room = "http://jabber.org/protocol/muc", "garden@conference.a.example"
	enter := func(u *user, nick string) {
		p := stanza.New(stanza.Presence, "", xmlstream.El(muc, "x"))
		p.To = jid.MustParse(room + "/" + nick)
		u.send(p)
		u.wait("the subject", func(s *stanza.Stanza) bool {
			return s.From.Bare().String() == room && s.Has(stanza.NSClient, "subject")
		})
	}
	say := func(u *user, id string) {
		m := stanza.New(stanza.Message, stanza.TypeGroupchat, xmlstream.El(stanza.NSClient, "body", "text of "+id))
		m.ID, m.To = id, jid.MustParse(room)
		u.send(m)
	}
	enter(romeo, "romeo")
	form := xmlstream.El(muc+"#owner", "query", xmlstream.El("jabber:x:data", "x", xmlstream.A("type", "submit")))
	if _, err := romeo.Request(t.Context(), stanza.TypeSet, jid.MustParse(room), form); err != nil {
		t.Fatal(err)
	}
	enter(juliet, "juliet")
	say(romeo, "m1")
	say(juliet, "m2")
	for _, u := range []*user{romeo, juliet} {
		u.message("m1")
		u.message("m2")
	}
	// A request between occupants crosses the servers, without addresses (XEP-0045#impl-service-traffic).
	if _, err := juliet.Request(t.Context(), stanza.TypeGet, jid.MustParse(room+"/juliet"), xmlstream.El("urn:xmpp:ping", "ping")); err != nil {
		t.Errorf("juliet pings herself: %v", err)
	}
	b.stop()
	gone := func(s *stanza.Stanza) bool {
		return s.Kind == stanza.Presence && s.Type == stanza.TypeUnavailable && strings.HasSuffix(s.From.String(), "/juliet")
	}
	say(romeo, "m3")
	romeo.wait("the end of juliet's visit", gone)
	romeo.message("m3")
}
