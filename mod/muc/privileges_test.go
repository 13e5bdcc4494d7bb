package muc_test

import (
	"fmt"
	"strings"
	"testing"

	"sabir/internal/db/dbtest"
	"sabir/mod/modtest"
	"sabir/mod/muc"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// The tables of XEP-0045#roles-priv and XEP-0045#affil-priv, word for word, without their marks of defaults that a configuration
// changes: the rooms of the test are configured so that the table holds.
const (
	rolePrivileges = `
		Privilege                           | None | Visitor | Participant | Moderator
		Present in Room                     | No   | Yes     | Yes         | Yes
		Receive Messages                    | No   | Yes     | Yes         | Yes
		Receive Occupant Presence           | No   | Yes     | Yes         | Yes
		Broadcast Presence to All Occupants | No   | Yes     | Yes         | Yes
		Change Availability Status          | No   | Yes     | Yes         | Yes
		Change Room Nickname                | No   | Yes     | Yes         | Yes
		Send Private Messages               | No   | Yes     | Yes         | Yes
		Invite Other Users                  | No   | Yes     | Yes         | Yes
		Send Messages to All                | No   | No      | Yes         | Yes
		Modify Subject                      | No   | No      | Yes         | Yes
		Kick Participants and Visitors      | No   | No      | No          | Yes
		Grant Voice                         | No   | No      | No          | Yes
		Revoke Voice                        | No   | No      | No          | Yes`
	affiliationPrivileges = `
		Privilege                         | Outcast | None | Member | Admin | Owner
		Enter Open Room                   | No      | Yes  | Yes    | Yes   | Yes
		Register with Open Room           | No      | Yes  | N/A    | N/A   | N/A
		Retrieve Member List              | No      | No   | Yes    | Yes   | Yes
		Enter Members-Only Room           | No      | No   | Yes    | Yes   | Yes
		Ban Members and Unaffiliated Users| No      | No   | No     | Yes   | Yes
		Edit Member List                  | No      | No   | No     | Yes   | Yes
		Assign and Remove Moderator Role  | No      | No   | No     | Yes   | Yes
		Edit Admin List                   | No      | No   | No     | No    | Yes
		Edit Owner List                   | No      | No   | No     | No    | Yes
		Change Room Configuration         | No      | No   | No     | No    | Yes
		Destroy Room                      | No      | No   | No     | No    | Yes`
)

// stage is a room for one cell of a table: the boss owns it, other is a participant, mute a visitor, and actor is who tries.
type stage struct {
	*world
	room string
}

const (
	boss, other, mute, actor, stranger = "boss@localhost/x", "other@localhost/x", "mute@localhost/x", "actor@localhost/x", "stranger@localhost/x"
	nsAdmin                            = "http://jabber.org/protocol/muc#admin"
)

func (s *stage) enters(who string) {
	s.t.Helper()
	nick := jid.MustParse(who).Local()
	s.must(who, "<presence to='"+s.room+"/"+nick+"'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
}

func (s *stage) admin(who, items string) *stanza.Stanza {
	return s.Set(who, s.room, "<query xmlns='"+nsAdmin+"'>"+items+"</query>")
}

func (s *stage) owner(who, payload string) *stanza.Stanza {
	return s.Set(who, s.room, "<query xmlns='http://jabber.org/protocol/muc#owner'>"+payload+"</query>")
}

func (s *stage) ok(a *stanza.Stanza) bool { return a != nil && a.Type == stanza.TypeResult }

// config opens the room with fields, given in pairs.
func (s *stage) config(pairs ...string) {
	s.t.Helper()
	form := ""
	for i := 0; i < len(pairs); i += 2 {
		form += "<field var='muc#roomconfig_" + pairs[i] + "'><value>" + pairs[i+1] + "</value></field>"
	}
	if a := s.owner(boss, "<x xmlns='jabber:x:data' type='submit'>"+form+"</x>"); !s.ok(a) {
		s.t.Fatal(a)
	}
}

// got forgets what was sent until now, does something, and tells whether somebody was sent what contains a text.
func (s *stage) got(who, text string, do func()) bool {
	s.t.Helper()
	s.settle(s.room)
	clear(s.sent)
	do()
	s.settle(s.room)
	return strings.Contains(fmt.Sprint(s.sent[who]), text)
}

// tries sends a stanza of the actor, who may be refused.
func (s *stage) tries(xml string) func() {
	return func() { _ = s.as(actor, strings.ReplaceAll(xml, "ROOM", s.room)) } // what it does is looked at
}

// rolePrivilege tells whether the actor has a privilege in the room.
func (s *stage) rolePrivilege(name string) bool {
	switch name {
	case "Present in Room":
		return s.ok(s.Get(actor, s.room+"/actor", "<ping xmlns='urn:xmpp:ping'/>"))
	case "Receive Messages":
		return s.got(actor, "<body>Hear</body>", func() { s.must(boss, "<message type='groupchat' to='"+s.room+"'><body>Hear</body></message>") })
	case "Receive Occupant Presence":
		return s.got(actor, "<status>See</status>", func() { s.must(boss, "<presence to='"+s.room+"/boss'><status>See</status></presence>") })
	case "Broadcast Presence to All Occupants":
		s.settle(s.room)
		return strings.Contains(fmt.Sprint(s.sent[other]), "from='"+s.room+"/actor'")
	case "Change Availability Status":
		return s.got(other, "<show>dnd</show>", s.tries("<presence to='ROOM/actor'><show>dnd</show></presence>"))
	case "Change Room Nickname":
		return s.got(other, "code='303'", s.tries("<presence to='ROOM/player'/>"))
	case "Send Private Messages":
		return s.got(other, "<body>Psst</body>", s.tries("<message type='chat' to='ROOM/other'><body>Psst</body></message>"))
	case "Invite Other Users":
		return s.got(jid.MustParse(stranger).Bare().String(), "<invite ",
			s.tries("<message to='ROOM'><x xmlns='http://jabber.org/protocol/muc#user'><invite to='stranger@localhost'/></x></message>"))
	case "Send Messages to All":
		return s.got(other, "<body>All</body>", s.tries("<message type='groupchat' to='ROOM'><body>All</body></message>"))
	case "Modify Subject":
		return s.got(other, "<subject>Mine</subject>", s.tries("<message type='groupchat' to='ROOM'><subject>Mine</subject></message>"))
	case "Kick Participants and Visitors":
		return s.ok(s.admin(actor, "<item nick='other' role='none'/><item nick='mute' role='none'/>"))
	case "Grant Voice":
		return s.ok(s.admin(actor, "<item nick='mute' role='participant'/>"))
	case "Revoke Voice":
		return s.ok(s.admin(actor, "<item nick='other' role='visitor'/>"))
	}
	s.t.Fatalf("nothing tries the privilege %q", name)
	return false
}

// affiliationPrivilege tells whether the actor, who is not in the room yet, has a privilege.
func (s *stage) affiliationPrivilege(name string) bool {
	enter := s.tries("<presence to='ROOM/actor'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
	switch name {
	case "Enter Open Room":
		return s.got(actor, "code='110'", enter)
	case "Register with Open Room":
		return s.ok(s.Get(actor, s.room, "<query xmlns='jabber:iq:register'/>"))
	case "Retrieve Member List":
		return s.ok(s.Get(actor, s.room, "<query xmlns='"+nsAdmin+"'><item affiliation='member'/></query>"))
	case "Enter Members-Only Room":
		s.config("membersonly", "1")
		return s.got(actor, "code='110'", enter)
	case "Ban Members and Unaffiliated Users":
		return s.ok(s.admin(actor, "<item affiliation='outcast' jid='stranger@localhost'/>"))
	case "Edit Member List":
		return s.ok(s.admin(actor, "<item affiliation='member' jid='stranger@localhost'/>"))
	case "Assign and Remove Moderator Role":
		return s.ok(s.admin(actor, "<item nick='other' role='moderator'/>")) && s.ok(s.admin(actor, "<item nick='other' role='participant'/>"))
	case "Edit Admin List":
		return s.ok(s.admin(actor, "<item affiliation='admin' jid='stranger@localhost'/>"))
	case "Edit Owner List":
		return s.ok(s.admin(actor, "<item affiliation='owner' jid='stranger@localhost'/>"))
	case "Change Room Configuration":
		return s.ok(s.owner(actor, "<x xmlns='jabber:x:data' type='submit'><field var='muc#roomconfig_roomname'><value>Mine</value></field></x>"))
	case "Destroy Room":
		return s.ok(s.owner(actor, "<destroy/>"))
	}
	s.t.Fatalf("nothing tries the privilege %q", name)
	return false
}

// cells calls f for each cell of a table, with its row, column and value.
func cells(t *testing.T, table string, want int, f func(row, column, value string)) {
	t.Helper()
	var head []string
	n := 0
	for _, l := range strings.Split(strings.TrimSpace(table), "\n") {
		var c []string
		for _, x := range strings.Split(l, "|") {
			c = append(c, strings.TrimSpace(x))
		}
		if head == nil {
			head = c
			continue
		}
		if len(c) != len(head) {
			t.Fatalf("%q has %d columns, not %d", l, len(c), len(head))
		}
		for i, v := range c[1:] {
			n++
			f(c[0], strings.ToLower(head[i+1]), v)
		}
	}
	if n != want {
		t.Errorf("%d cells, not %d", n, want)
	}
}

func agrees(t *testing.T, row, column, value string, got bool) {
	t.Helper()
	if value != "N/A" && got != (value == "Yes") {
		t.Errorf("%s, %s: %v, not %s", row, column, got, value)
	}
}

// TestRolePrivileges tries each privilege as each role (XEP-0045#roles-priv).
func TestRolePrivileges(t *testing.T) {
	w := start(t, dbtest.SQLite(t), modtest.WithConfig(func(c *muc.Config) { c.PerUser = 0 }))
	n := 0
	cells(t, rolePrivileges, 52, func(row, column, value string) {
		n++
		s := &stage{world: w, room: fmt.Sprintf("role%d@conference.localhost", n)}
		s.enters(boss)
		s.config("moderatedroom", "1", "changesubject", "1")
		s.enters(other)
		s.enters(mute)
		s.admin(boss, "<item nick='other' role='participant'/>")
		if column != "none" {
			s.enters(actor)
			if column == "moderator" { // voice is taken from those of a lower affiliation only (XEP-0045#revokevoice)
				s.admin(boss, "<item affiliation='member' jid='actor@localhost'/>")
			}
			s.admin(boss, "<item nick='actor' role='"+column+"'/>")
		}
		agrees(t, row, column, value, s.rolePrivilege(row))
		clear(w.sent)
	})
	w.Stop()
}

// TestAffiliationPrivileges tries each privilege with each affiliation (XEP-0045#affil-priv).
func TestAffiliationPrivileges(t *testing.T) {
	w := start(t, dbtest.SQLite(t), modtest.WithConfig(func(c *muc.Config) { c.PerUser = 0 }))
	n := 0
	cells(t, affiliationPrivileges, 55, func(row, column, value string) {
		n++
		s := &stage{world: w, room: fmt.Sprintf("affil%d@conference.localhost", n)}
		s.enters(boss)
		s.config("whois", "anyone")
		s.enters(other)
		if a := s.admin(boss, "<item affiliation='"+column+"' jid='actor@localhost'/>"); !s.ok(a) {
			t.Fatal(a)
		}
		agrees(t, row, column, value, s.affiliationPrivilege(row))
		clear(w.sent)
	})
	w.Stop()
}
