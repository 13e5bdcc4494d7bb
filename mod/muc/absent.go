package muc

import (
	"slices"

	"sabir/engine/room"
	"sabir/engine/urgency"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// Members who are not in the room have their devices told of messages (XEP-0357) without being sent them: the archive of the room keeps
// what is said, and a notification says that there is something. So this is for members of this host; those of others get the
// mentions that the room forwards (XEP-0452). Who is in the room with a client that sleeps is sent the message, and told by that.

// absence is who is told of a message without being sent it.
type absence struct {
	// mentioned are the members who are not in the room and to whom it speaks.
	mentioned []jid.JID
	// count and tell are those of mod.Notifier.
	count func(tx mod.Tx) error
	tell  func()
}

// absent finds out who is to be told of a message. Messages that the archive does not keep are only for those who are there.
func (c *chat) absent(t *turn, r *said) {
	if r.by == nil || !c.exists {
		return
	}
	r.absence.mentioned = c.mentioned(r.s, r.by)
	if !r.archive || !urgency.Notifies(r.s) {
		return
	}
	r.absence.count, r.absence.tell = c.m.h.Notifier().Notify(t.ctx, r.s, c.toldOf(r.absence.mentioned))
}

// toldOf returns the members of this host who are away, as far as the room has them told of a message that speaks to mentioned. Who is
// forwarded it is told by that.
func (c *chat) toldOf(mentioned []jid.JID) (list []mod.Absent) {
	if c.cfg.Notify == room.NotifyNone {
		return nil
	}
	add := func(who jid.JID, called bool) {
		if a := c.associates[who]; c.local(who, a) && !(called && c.forwards(who)) {
			list = append(list, mod.Absent{Account: who, Nick: a.nick, Mentioned: called, OnMention: !c.cfg.NotifiesAll()})
		}
	}
	if c.crowded() {
		for _, who := range mentioned {
			add(who, true)
		}
		return list
	}
	for who := range c.associates {
		add(who, slices.Contains(mentioned, who))
	}
	return c.away(list)
}

// crowded tells whether the room has more members than are told of all its messages.
func (c *chat) crowded() bool {
	limit := c.m.c.NotifyMembers
	if len(c.associates) <= limit {
		return false
	}
	n := 0
	for _, a := range c.associates {
		n += int(bit(a.affiliation >= room.Member))
	}
	return n > limit
}

// few is up to how many members are looked for among the occupants one by one.
const few = 8

// away returns those of a list who are not in the room.
func (c *chat) away(list []mod.Absent) []mod.Absent {
	if len(list) <= few { // a room with many occupants has few members, as a rule
		return slices.DeleteFunc(list, func(a mod.Absent) bool { return len(c.of(a.Account)) > 0 })
	}
	here := make(map[jid.JID]bool, len(c.occupants))
	for _, o := range c.occupants {
		here[o.user] = true
	}
	return slices.DeleteFunc(list, func(a mod.Absent) bool { return here[a.Account] })
}

// local tells whether somebody is a member with an account of this host.
func (c *chat) local(who jid.JID, a associate) bool {
	return a.affiliation >= room.Member && who.Local() != "" && who.DomainJID() == c.m.h.Domain()
}

// forwards tells whether a member who is away is sent what mentions him or her: where the owner has chosen so, and, on another server,
// who has registered a nick, and thereby asked for it (XEP-0452#reqs).
func (c *chat) forwards(who jid.JID) bool {
	return c.cfg.ForwardMentions && (who.DomainJID() == c.m.h.Domain() || c.associates[who].nick != "")
}

// missed has a member told of a message that came back: the client that was in the room is gone. s is the error. A session that
// waited for its client until then has been told already, which mod.Notifier knows.
func (c *chat) missed(t *turn, s *stanza.Stanza) error {
	who := s.From.Bare()
	if !c.exists || s.Type != stanza.TypeError || c.cfg.Notify == room.NotifyNone || !c.local(who, c.associates[who]) || len(c.of(who)) > 0 {
		return nil
	}
	i := slices.IndexFunc(c.history, func(p past) bool { return p.id != "" && p.s.ID == s.ID && s.ID != "" })
	if i < 0 {
		return nil
	}
	to := mod.Absent{Account: who, Nick: c.associates[who].nick, OnMention: !c.cfg.NotifiesAll()}
	count, tell := c.m.h.Notifier().Notify(t.ctx, c.history[i].s, []mod.Absent{to})
	if count == nil {
		return nil
	}
	if err := t.write(count); err != nil {
		return err
	}
	tell()
	return nil
}
