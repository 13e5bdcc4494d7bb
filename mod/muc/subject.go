package muc

import (
	"sabir/engine/room"
	"sabir/xmpp/payload/delay"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// isSubject tells whether a message sets the subject: it has one, and neither a body nor a thread (XEP-0045#subject-mod).
func isSubject(s *stanza.Stanza) bool {
	return s.Has(stanza.NSClient, "subject") && !s.Has(stanza.NSClient, "body") && !s.Has(stanza.NSClient, "thread")
}

func (c *chat) changeSubject(t *turn, s *stanza.Stanza, at *seat) error {
	if at.Role < room.Moderator && (!c.cfg.ChangeSubject || at.Role < room.Participant) {
		return stanza.Err(stanza.Forbidden, "you may not change the subject")
	}
	t.said = append(t.said, said{s: c.reflection(s, at.occupant), by: at.occupant, subject: true, archive: !c.cfg.Unarchived && c.exists})
	return nil
}

// stamped is the subject as it is sent to who enters later, with the time at which it was set (XEP-0045#enter-subject).
func (t *turn) stamped(s *stanza.Stanza) *stanza.Stanza {
	return s.Clone().Add(delay.Delay{From: t.c.jid, Stamp: t.c.m.h.Clock().Now()}.Element())
}

func (t *turn) stampedSubject(s *stanza.Stanza) string {
	return string(t.stamped(s).Append(nil, stanza.NSClient))
}

// sendSubject ends an entry (XEP-0045#enter-subject): with an empty subject if there never was one.
func (c *chat) sendSubject(t *turn, at *seat) {
	if c.subject != nil {
		t.send(c.subject, at.full)
		return
	}
	s := stanza.New(stanza.Message, stanza.TypeGroupchat, xmlstream.El(stanza.NSClient, "subject"))
	s.ID, s.From, s.To = stanza.NewID(), c.jid, at.full
	t.send(s)
}
