package badinput

import (
	"strings"
	"time"

	"sabir/xmpp/xmlstream"
)

// Names in the rooms of a case.
const (
	nickOwner = "taken" // {nick_taken}
	nickSelf  = "self"
)

// room and moderated are the rooms of a case.
func (x *exec) room() string { return "room-" + x.accs["self"].local + "@conference." + domain }
func (x *exec) moderated() string {
	return "moderated-" + x.accs["self"].local + "@conference." + domain
}

// inRoom tells whether the state of a case is one within a room.
func inRoom(state string) bool {
	return state == "joined" || state == "visitor" || state == "admin-of-room" || state == "owner-of-room"
}

// rooms makes the rooms that a case speaks of, with an owner in them, and takes the actors in.
func (x *exec) rooms() error {
	state := x.c.State
	if !inRoom(state) && !x.c.mentions("room") && !x.c.mentions("room_moderated") {
		return nil
	}
	x.accs["owner"] = x.h.account(x.t, "owner")
	owner, err := x.h.connect("owner", x.accs["owner"], "bound")
	if err != nil {
		return err
	}
	x.actors["owner"] = owner
	for _, r := range []struct{ jid, moderated string }{{x.room(), "0"}, {x.moderated(), "1"}} {
		if err := owner.enter(r.jid, nickOwner); err != nil {
			return err
		}
		form := "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>" +
			"<field var='muc#roomconfig_moderatedroom'><value>" + r.moderated + "</value></field></x>"
		if err := owner.ask("set", r.jid, "<query xmlns='http://jabber.org/protocol/muc#owner'>"+form+"</query>"); err != nil {
			return err
		}
	}
	affiliation := map[string]string{"admin-of-room": "admin", "owner-of-room": "owner"}[state]
	if affiliation != "" {
		item := "<item affiliation='" + affiliation + "' jid='" + x.self.acc.bare() + "'/>"
		if err := owner.ask("set", x.room(), "<query xmlns='http://jabber.org/protocol/muc#admin'>"+item+"</query>"); err != nil {
			return err
		}
	}
	if victim := x.actors["victim"]; victim != nil && inRoom(state) {
		if err := victim.enter(x.room(), "victim"); err != nil {
			return err
		}
	}
	if !inRoom(state) {
		return nil
	}
	if state == "visitor" {
		return x.self.enter(x.moderated(), nickSelf)
	}
	return x.self.enter(x.room(), nickSelf)
}

// enter takes an actor into a room and waits for the subject, which comes last (XEP-0045#order).
func (a *actor) enter(room, nick string) error {
	from, _ := a.mark()
	if err := a.send("<presence xmlns='jabber:client' to='" + room + "/" + nick + "'><x xmlns='http://jabber.org/protocol/muc'/></presence>"); err != nil {
		return err
	}
	in := a.waitFrame(5*time.Second, from, func(f *xmlstream.Frame) bool {
		return strings.HasPrefix(f.Attr("from"), room) && strings.Contains(f.Raw(), "<subject")
	})
	if in == nil {
		return a.fail("does not get into " + room)
	}
	return nil
}

// ask makes a request that must succeed.
func (a *actor) ask(typ, to, payload string) error {
	from, _ := a.mark()
	id := "harness-ask-" + to
	if err := a.send("<iq xmlns='jabber:client' type='" + typ + "' id='" + id + "' to='" + to + "'>" + payload + "</iq>"); err != nil {
		return err
	}
	got := a.waitFrame(5*time.Second, from, func(f *xmlstream.Frame) bool { return f.Attr("id") == id && f.Attr("type") == "result" })
	if got == nil {
		return a.fail("a request to " + to + " does not succeed")
	}
	return nil
}

// exactlyOneOccupantID checks what a room sends of a message with forged ids (XEP-0421#rules).
func exactlyOneOccupantID(x *exec, _ *outcome) error {
	events, _ := x.since(x.self)
	for _, e := range events {
		if e.frame == nil || e.frame.Name().Local != "message" || !strings.Contains(e.frame.Raw(), "occupant-id") {
			continue
		}
		n := strings.Count(e.frame.Raw(), "<occupant-id ")
		if n != 1 || strings.Contains(e.frame.Raw(), "id='A'") || strings.Contains(e.frame.Raw(), "id='B'") {
			return x.self.fail("forged occupant ids: " + e.frame.Raw())
		}
		return nil
	}
	return x.self.fail("the message was not reflected with an occupant id")
}
