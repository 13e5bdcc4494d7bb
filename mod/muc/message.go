package muc

import (
	"context"
	"errors"
	"time"

	"sabir/engine/archive"
	"sabir/engine/room"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/dataform"
	"sabir/xmpp/payload/delay"
	"sabir/xmpp/payload/sid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// message takes a message to any address of the service.
func (m *muc) message(ctx context.Context, s *stanza.Stanza) (func(context.Context) error, error) {
	if s.To.Local() == "" {
		if s.Type == stanza.TypeError {
			return nil, mod.Drop{Why: "an error to the service"}
		}
		return nil, m.announce(s)
	}
	switch {
	case s.Type == stanza.TypeError: // may come from within the loop of a room: see mod.Service
		return nil, m.put(s.To, task{s: s, do: func(t *turn) error { return t.c.bounced(t, s) }})
	case s.To.IsFull():
		return m.ask(task{s: s, do: func(t *turn) error { return t.c.private(t, s) }})
	case s.Type == stanza.TypeGroupchat:
		return m.ask(task{s: s, say: true, owed: mod.Owed(ctx), do: func(t *turn) error { return t.c.say(t, s) }})
	}
	return m.ask(task{s: s, do: func(t *turn) error { return t.c.other(t, s) }})
}

// other handles what is neither for all nor for one: invitations and forms to the room.
func (c *chat) other(t *turn, s *stanza.Stanza) error {
	if !c.exists && !c.locked {
		return errNoRoom()
	}
	if x := s.Child(nsUser, "x"); x != nil {
		switch {
		case x.Child(nsUser, "invite") != nil:
			return c.invite(t, s, x)
		case x.Child(nsUser, "decline") != nil:
			return c.decline(t, s, x)
		}
	}
	if x := s.Child(dataform.NS, "x"); x != nil {
		return c.takeForm(t, s, x)
	}
	if c.seats[s.From] == nil {
		return stanza.Err(stanza.NotAcceptable, "only occupants may do that")
	}
	return stanza.Err(stanza.BadRequest, "a message to the room is of type groupchat") // XEP-0045#bizrules-message
}

// said is a message for all that waits for its commit.
type said struct {
	s       *stanza.Stanza // as it goes out, without a stanza-id
	by      *occupant
	task    *task
	archive bool
	subject bool   // it is the new subject
	target  string // the stanza-id of the message that it retracts, or ""
	tomb    string // what takes the place of that
	absence absence
}

// say takes a message for all (XEP-0045#message).
func (c *chat) say(t *turn, s *stanza.Stanza) error {
	at, err := c.seatOf(s.From)
	if err != nil {
		return err
	}
	if isSubject(s) {
		return c.changeSubject(t, s, at)
	}
	if c.cfg.Moderated && at.Role < room.Participant {
		return stanza.Err(stanza.Forbidden, "visitors do not speak in a moderated room")
	}
	if err := c.tooFast(at.occupant, s); err != nil {
		return err
	}
	r := said{s: c.reflection(s, at.occupant), by: at.occupant, archive: !c.cfg.Unarchived && c.exists && worthKeeping(s)}
	if x := s.Child(nsRetract, "retract"); x != nil {
		if err := c.retract(t, &r, x.Attr("id")); err != nil {
			return err
		}
	}
	t.said = append(t.said, r)
	return nil
}

// reflection is a message as all get it: from the occupant, without what only the service puts in.
func (c *chat) reflection(s *stanza.Stanza, by *occupant) *stanza.Stanza {
	r := sid.Strip(s, c.jid).Clone()
	if s.Has(delay.NS, "delay") { // XEP-0203#security
		r.RemoveNamed(delay.NS, "delay", func(x *xmlstream.Element) bool { return delay.Claims(x, c.jid) })
	}
	r.Remove(ours)
	r.From, r.To = by.jid, jid.JID{}
	if r.ID == "" {
		r.ID = stanza.NewID()
	}
	return r.Add(occupantIDElement(by.id))
}

// worthKeeping tells whether a message goes into the archive: what has nothing to show, such as a chat state, does not
// (XEP-0313#business-storeret), nor what asks not to be kept (XEP-0334).
func worthKeeping(s *stanza.Stanza) bool {
	switch {
	case s.Has(nsHints, "no-store"), s.Has(nsHints, "no-permanent-store"):
		return false
	case s.Has(stanza.NSClient, "body"), s.Has(stanza.NSClient, "subject"), s.Has(nsHints, "store"), s.Has(nsRetract, "retract"):
		return true
	}
	for n := range s.ChildNames() {
		switch n.Space {
		case stanza.NSClient, sid.NS, "http://jabber.org/protocol/chatstates", "urn:xmpp:receipts":
		default:
			return true // an attachment, a marker, a reaction, something encrypted
		}
	}
	return false
}

// tooFast keeps the pace of a slow room (XEP-0500): who is no moderator waits between two messages.
func (c *chat) tooFast(o *occupant, s *stanza.Stanza) error {
	if c.cfg.Slow == 0 || !s.Has(stanza.NSClient, "body") || o.Role == room.Moderator {
		return nil
	}
	now := c.m.h.Clock().Now()
	if wait := time.Duration(c.cfg.Slow)*time.Second - now.Sub(o.spoke); wait > 0 {
		return stanza.Errf(stanza.PolicyViolation, "this room is slow: wait for %d s", int(wait.Seconds())+1).OfType(stanza.Wait)
	}
	o.spoke = now
	return nil
}

// commit makes what was said durable, in one write, and reflects it then (XEP-0045#message). If that fails, nobody gets it
// and its senders are told.
func (t *turn) commit() {
	if len(t.said) == 0 {
		return
	}
	all := t.said
	t.said = nil
	t.flush()
	for i := range all {
		t.c.absent(t, &all[i])
	}
	places, err := t.record(all)
	for i := range all {
		r := &all[i]
		if err != nil {
			if r.task != nil && r.task.done != nil {
				r.task.done <- err
			}
			continue
		}
		t.c.tell(t, r, places[i])
	}
}

// record keeps what is to be kept, and returns the place of each message in the archive.
func (t *turn) record(all []said) (places []archive.Place, err error) {
	c := t.c
	places = make([]archive.Place, len(all))
	some := false
	for i := range all {
		some = some || all[i].archive || all[i].subject // nobody is told of others: see absent
	}
	if !some {
		return places, nil
	}
	wires := make([]string, len(all))
	for i := range all {
		if all[i].archive || all[i].subject {
			wires[i] = c.wireOf(&all[i])
		}
	}
	if c.exists {
		if c.archive, err = c.m.log.Archive(t.ctx, c.jid.String()); err != nil {
			return nil, err
		}
	}
	seats := c.unstored()
	err = c.m.h.DB().Write(t.ctx, func(tx mod.Tx) error {
		for i := range all {
			if err := t.recordOne(tx, &all[i], wires[i], &places[i]); err != nil {
				return err
			}
		}
		for _, s := range seats {
			if err := s.write(tx); err != nil {
				return err
			}
		}
		return t.recordDebts(tx, all, places)
	})
	if err == nil {
		clear(c.fresh)
	}
	return places, err
}

// recordDebts writes what the senders want written with their messages, and that all in the room are still to be told of these.
func (t *turn) recordDebts(tx mod.Tx, all []said, places []archive.Place) error {
	for i := range all {
		if k := all[i].task; k != nil && k.owed != nil {
			if err := k.owed(t.ctx, tx); err != nil {
				return err
			}
		}
	}
	for _, p := range places {
		if p.ID != "" {
			t.untold = p.ID
			return t.c.m.store.setUntold(t.ctx, tx, t.c.jid, t.c.m.svc.Domain, p.ID)
		}
	}
	return nil
}

// wireOf is a message as the archive keeps it: in a non-anonymous room with who sent it (XEP-0313#business-storeret-muc-archives).
func (c *chat) wireOf(r *said) string {
	s := r.s
	if c.cfg.NonAnonymous && r.by != nil {
		i := item{affiliation: r.by.Affiliation, role: r.by.Role, jid: r.by.user}
		s = s.Clone().Add(userX(i))
	}
	return string(s.Append(nil, stanza.NSClient))
}

func (t *turn) recordOne(tx mod.Tx, r *said, wire string, place *archive.Place) error {
	c := t.c
	if r.subject && c.exists {
		if err := c.m.store.setSubject(t.ctx, tx, c.jid, t.stampedSubject(r.s)); err != nil {
			return err
		}
	}
	if r.target != "" {
		err := c.m.log.Replace(t.ctx, tx, c.archive, r.target, r.tomb)
		if err != nil && !errors.Is(err, archive.ErrNotFound) {
			return err
		}
	}
	if !r.archive {
		return nil
	}
	if r.absence.count != nil {
		if err := r.absence.count(tx); err != nil {
			return err
		}
	}
	// The peer is the occupant, not the user: nobody shall find out by a query who somebody is.
	got, err := c.m.log.Append(t.ctx, tx, archive.Message{Wire: wire, Text: r.s.Body()}, archive.Row{Archive: c.archive, Peer: r.s.From, Groupchat: true})
	if err == nil {
		*place = got[0]
	}
	return err
}

// tell reflects a message that was committed.
func (c *chat) tell(t *turn, r *said, at archive.Place) {
	if at.ID != "" {
		c.m.h.Trace(r.s.Mark, mod.TraceArchived, c.jid.String(), at.ID)
		r.s.Add(sid.Element(c.jid, at.ID))
	}
	if r.target != "" {
		c.bury(r.target)
	}
	switch {
	case r.subject:
		c.subject = t.stamped(r.s)
	case r.archive || r.s.Has(stanza.NSClient, "body") && !r.s.Has(nsHints, "no-store"):
		c.remember(r.s, at)
	}
	c.counted(r.s)
	c.toAll(t, r.s)
	c.forward(t, r)
	c.indicate(t, r)
	if r.absence.tell != nil {
		r.absence.tell()
	}
}

// toAll sends a message to all clients, encoded once.
func (c *chat) toAll(t *turn, s *stanza.Stanza) {
	t.send(s, c.clients(func(*occupant) bool { return true })...)
}

// clients returns the addresses of the clients of some occupants.
func (c *chat) clients(of func(*occupant) bool) []jid.JID {
	to := make([]jid.JID, 0, len(c.seats))
	for _, o := range c.occupants {
		if of(o) {
			to = o.addresses(to)
		}
	}
	return to
}

// announcement is a message from the room itself with status codes (XEP-0045#roomconfig-notify).
func (c *chat) announcement(t *turn, codes ...code) {
	s := stanza.New(stanza.Message, stanza.TypeGroupchat, withCodes(xmlstream.El(nsUser, "x"), codes))
	s.ID, s.From = stanza.NewID(), c.jid
	c.toAll(t, s)
}

// bounced handles an error that came back for something that the room had sent: a client that cannot be reached is in the
// room no more. Another error answers a private message and goes to who sent that.
func (c *chat) bounced(t *turn, s *stanza.Stanza) error {
	at := c.seats[s.From]
	switch {
	case at == nil && c.undelivered(t, s):
		return nil
	case at == nil && !fatal(s):
		return mod.Drop{Why: "an error from somebody outside"}
	case at == nil: // an earlier error was about the same client
		return c.missed(t, s)
	case fatal(s):
		c.vanished(t, at)
		if err := c.missed(t, s); err != nil {
			return err
		}
		return c.closeIfEmpty(t)
	case s.To.IsFull():
		return c.private(t, s)
	}
	return mod.Drop{Why: "an error to a room"}
}
