package s2s_test

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"sabir/internal/config"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

const (
	nsMUC     = "http://jabber.org/protocol/muc"
	nsMUCUser = nsMUC + "#user"
)

// occupant is a user in a room.
type occupant struct {
	*user
	room jid.JID
	nick string
}

// enter enters a room, up to its subject, which comes last (XEP-0045#order).
func (u *user) enter(room, nick string) *occupant {
	u.t.Helper()
	o := &occupant{user: u, room: jid.MustParse(room), nick: nick}
	before := len(u.all())
	p := stanza.New(stanza.Presence, "", xmlstream.El(nsMUC, "x"))
	p.To = jid.MustParse(room + "/" + nick)
	u.send(p)
	u.wait("the subject of "+room, func(s *stanza.Stanza) bool {
		return slices.Contains(u.all()[before:], s) && s.From.Bare() == o.room && s.Kind == stanza.Message && s.Has(stanza.NSClient, "subject") && !s.Has(stanza.NSClient, "body")
	})
	return o
}

// says says something to all, or sets the subject.
func (o *occupant) says(id, element string) {
	o.t.Helper()
	m := stanza.New(stanza.Message, stanza.TypeGroupchat, xmlstream.El(stanza.NSClient, element, "text of "+id))
	m.ID, m.To = id, o.room
	o.send(m)
}

// hears waits for what another has said to all.
func (o *occupant) hears(nick, text string) *stanza.Stanza {
	o.t.Helper()
	return o.wait("what "+nick+" says: "+text, func(s *stanza.Stanza) bool {
		return s.Kind == stanza.Message && s.Type == stanza.TypeGroupchat && s.From.String() == o.room.String()+"/"+nick &&
			(s.Body() == text || subject(s) == text)
	})
}

// subject returns the subject of a message.
func subject(s *stanza.Stanza) string {
	if x := s.Child(stanza.NSClient, "subject"); x != nil {
		return x.Text()
	}
	return ""
}

// sees waits for a presence of an occupant, of a type, with a status code where one is given.
func (o *occupant) sees(nick, typ, code string) {
	o.t.Helper()
	o.wait("the presence of "+nick+", "+typ+" "+code, func(s *stanza.Stanza) bool {
		return s.Kind == stanza.Presence && s.Type == typ && s.From.String() == o.room.String()+"/"+nick && (code == "" || hasStatus(s, code))
	})
}

// hasStatus tells whether a presence of a room has a status code.
func hasStatus(s *stanza.Stanza, code string) bool {
	x := s.Child(nsMUCUser, "x")
	if x == nil {
		return false
	}
	for c := range x.Elements() {
		if c.Is(nsMUCUser, "status") && c.Attr("code") == code {
			return true
		}
	}
	return false
}

// moves sends a presence to an address in the room: another nick, or the end of the visit.
func (o *occupant) moves(typ, nick string) {
	o.t.Helper()
	o.presence(typ, o.room.String()+"/"+nick)
}

// request sends a request to the room that must succeed.
func (o *occupant) request(query *xmlstream.Element) {
	o.t.Helper()
	if _, err := o.Request(o.t.Context(), stanza.TypeSet, o.room, query); err != nil {
		o.t.Fatalf("%s: %v", o.jid, err)
	}
}

// TestPeersRooms has users of Sabir in rooms of Prosody and ejabberd, and users of theirs in rooms of Sabir.
func TestPeersRooms(t *testing.T) {
	if os.Getenv(envPeers) == "" {
		t.Skip("scripts/s2s-peers.sh runs it")
	}
	for _, name := range []string{"prosody", "ejabberd"} {
		for _, host := range []string{"ours", "theirs"} {
			t.Run(name+" "+host, func(t *testing.T) { peersRoom(t, name, host == "ours") })
		}
	}
}

func peersRoom(t *testing.T, name string, here bool) {
	w := newWorldAt(t, "127.0.53.53:53")
	ours, theirs := w.start("queue_time = \"3s\"", "ours.example"), w.foreign(name, "theirs.example", false)
	for domain, port := range map[string]string{"theirs.example": theirs.ports[config.S2S], theirs.rooms(): theirs.ports[config.S2S],
		"conference.ours.example": ours.ports[config.S2S]} {
		w.Point(t, domain, port, "")
	}
	romeo, juliet := ours.login("romeo@ours.example/x"), theirs.connect("juliet@theirs.example/y")
	juliet.arrive()
	talk2(romeo, juliet)
	// The owner is of the server that has the room, the guests of the other.
	at, host, visitor, other := "garden@conference.ours.example", romeo, juliet, func() *user { return theirs.arrive("nurse")("z") }
	if !here {
		at, host, visitor, other = "garden@"+theirs.rooms(), juliet, romeo, func() *user { return ours.login("nurse@ours.example/z") }
	}
	owner := host.enter(at, "owner")
	owner.request(xmlstream.El(nsMUC+"#owner", "query", xmlstream.El("jabber:x:data", "x", xmlstream.A("type", "submit"))))
	guest := visitor.enter(at, "guest")
	owner.sees("guest", "", "")
	guest.sees("owner", "", "")
	guest.sees("guest", "", "110")

	owner.says("s1", "subject")
	guest.hears("owner", "text of s1")
	owner.says("m1", "body")
	guest.says("m2", "body")
	for _, o := range []*occupant{owner, guest} {
		o.hears("owner", "text of m1")
		o.hears("guest", "text of m2")
	}

	late := other().enter(at, "late")
	for nick, text := range map[string]string{"owner": "text of m1", "guest": "text of m2"} {
		if s := late.hears(nick, text); !s.Has("urn:xmpp:delay", "delay") { // XEP-0045#enter-history
			t.Errorf("%s comes from the history without its time", text)
		}
	}
	late.hears("owner", "text of s1")

	guest.moves("", "visitor")
	for _, o := range []*occupant{owner, guest, late} {
		o.sees("guest", stanza.TypeUnavailable, "303")
		o.sees("visitor", "", "")
	}
	m := stanza.New(stanza.Message, stanza.TypeChat, xmlstream.El(stanza.NSClient, "body", "between us"))
	m.ID, m.To = "p1", jid.MustParse(at+"/owner")
	guest.send(m)
	owner.wait("the private message", func(s *stanza.Stanza) bool {
		return s.Kind == stanza.Message && s.Type == stanza.TypeChat && s.From.String() == at+"/visitor" && s.Body() == "between us"
	})

	owner.request(xmlstream.El(nsMUC+"#admin", "query", xmlstream.El(nsMUC+"#admin", "item", xmlstream.A("nick", "late"), xmlstream.A("role", "none"))))
	for _, o := range []*occupant{late, owner, guest} {
		o.sees("late", stanza.TypeUnavailable, "307")
	}
	guest.moves(stanza.TypeUnavailable, "visitor")
	for _, o := range []*occupant{owner, guest} {
		o.sees("visitor", stanza.TypeUnavailable, "")
	}
	guest.says("m3", "body") // who is out may not speak
	guest.wait("an error", func(s *stanza.Stanza) bool {
		return s.Type == stanza.TypeError && s.ID == "m3" && strings.HasPrefix(s.From.String(), at)
	})
	if !here { // the room is gone: who is still in it is told when it speaks
		again := visitor.enter(at, "again")
		theirs.down(syscall.SIGKILL)
		again.says("m4", "body")
		again.wait("an error", func(s *stanza.Stanza) bool {
			return s.Type == stanza.TypeError && s.ID == "m4" && s.From == again.room
		})
		return
	}
	// Who is there from a server that is gone is taken out (XEP-0045#service-error-kick).
	visitor.enter(at, "ghost")
	owner.sees("ghost", "", "")
	theirs.down(syscall.SIGKILL)
	owner.says("m4", "body")
	owner.hears("owner", "text of m4")
	owner.sees("ghost", stanza.TypeUnavailable, "")
}
