package muc

import (
	"context"
	"errors"
	"slices"

	"sabir/engine/room"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// presence takes presence to any address of the service. Who enters waits until that is done, so that the answer comes before
// those to what is sent behind. Nobody waits for an exit, of which the server tells while it has other things to do, nor
// for what is done about an error, which may come from within the room's own loop.
func (m *muc) presence(ctx context.Context, s *stanza.Stanza) error {
	if s.To.Local() == "" {
		if s.Type == stanza.TypeAvailable && s.Has(nsMUC, "x") {
			return stanza.Err(stanza.JIDMalformed, "a room has a name")
		}
		return m.follow(s)
	}
	var do func(t *turn) error
	switch s.Type {
	case stanza.TypeAvailable:
		return m.wait(ctx, s, func(t *turn) error { return t.c.answered(t, s, t.c.available(t, s)) })
	case stanza.TypeUnavailable:
		do = func(t *turn) error { return t.c.unavailable(t, s) }
	case stanza.TypeError:
		do = func(t *turn) error { return t.c.failed(t, s) }
	case stanza.TypeProbe:
		do = func(t *turn) error { return t.c.probed(t, s) }
	default: // XEP-0045#bizrules-presence: neither an entry nor an exit
		return stanza.Err(stanza.ServiceUnavailable, "rooms have no subscribers")
	}
	return m.put(s.To, task{do: do, s: s})
}

// answered sends the error that a presence is owed in the name of the room (XEP-0045#enter-muc).
func (c *chat) answered(t *turn, s *stanza.Stanza, err error) error {
	var e *stanza.Error
	if !errors.As(err, &e) {
		return err
	}
	if r := refusal(s, c.jid, e); r != nil {
		t.send(r)
	}
	return nil
}

// available is an entry, a change of nick or a change of presence.
func (c *chat) available(t *turn, s *stanza.Stanza) error {
	if s.To.IsBare() { // XEP-0045#enter-muc
		return stanza.Err(stanza.JIDMalformed, "a nick is missing")
	}
	at := c.seats[s.From]
	switch {
	case s.Has(nsMUC, "x"):
		return c.enter(t, s, at)
	case at == nil:
		c.unknown(t, s)
		return nil
	case s.To.Resource() != at.nick:
		return c.changeNick(t, s, at)
	}
	c.update(t, s, at)
	return nil
}

// unknown tells a client that it is not in the room, whatever it thinks (XEP-0045#enter-gc).
func (c *chat) unknown(t *turn, s *stanza.Stanza) {
	i := item{reason: "You are not in the room."}
	p := stanza.New(stanza.Presence, stanza.TypeUnavailable, userX(i, self, kicked, failed))
	p.ID, p.From, p.To = s.ID, s.To, s.From
	t.send(p)
}

// update changes what the room shows of an occupant (XEP-0045#changepres).
func (c *chat) update(t *turn, s *stanza.Stanza, at *seat) {
	at.show(s)
	c.keepSeat(at)
	c.announce(t, at.occupant, s.ID)
}

// show sets the presence of a seat, which becomes the one that others see.
func (at *seat) show(s *stanza.Stanza) {
	at.presence = shown(s)
	at.occupant.drop(at)
	at.occupant.seats = append(at.occupant.seats, at)
}

// shown is a presence without what only the service puts in.
func shown(s *stanza.Stanza) *stanza.Stanza {
	p := s.Clone()
	p.Remove(ours)
	p.To, p.From = jid.JID{}, jid.JID{}
	return p
}

// unavailable is an exit (XEP-0045#exit). One to the room itself leaves as well: a server sends it there for who was
// subscribed to the room.
func (c *chat) unavailable(t *turn, s *stanza.Stanza) error {
	at := c.seats[s.From]
	if at == nil {
		return mod.Drop{Why: "not an occupant"}
	}
	c.leave(t, at, shown(s))
	return c.closeIfEmpty(t)
}

// leave takes a client out of the room and tells all. text is its last presence.
func (c *chat) leave(t *turn, at *seat, text *stanza.Stanza, codes ...code) {
	o := at.occupant
	i := item{affiliation: o.Affiliation}
	c.out(t, at, i, text, codes...)
}

// out removes a client with an item and codes. The one that leaves is told first; the others, where it was the last of the
// occupant, afterwards.
func (c *chat) out(t *turn, at *seat, i item, text *stanza.Stanza, codes ...code) {
	o := at.occupant
	last := c.rise(at)
	if !slices.Contains(codes, failed) { // of one that is gone without a word it is not known since when
		c.left(o.user)
	}
	bye := c.goodbye(o, i, at.full, text, append([]code{self}, codes...)...)
	bye.To = at.full
	t.send(bye)
	switch {
	case last:
		c.tellGone(t, o, i, at.full, text, codes...)
	case c.cfg.Broadcasts(o.Role):
		c.announce(t, o, "") // the presence of a client that is still there
	}
}

// tellGone tells all who are still in that an occupant is gone.
func (c *chat) tellGone(t *turn, o *occupant, i item, full jid.JID, text *stanza.Stanza, codes ...code) {
	if c.cfg.Broadcasts(o.Role) {
		c.tellAbsent(t, o, i, full, text, codes...)
	}
}

// tellAbsent tells all others that an occupant is not there any more, or no longer to be seen.
func (c *chat) tellAbsent(t *turn, o *occupant, i item, full jid.JID, text *stanza.Stanza, codes ...code) {
	c.toOthers(t, o, func(shows bool) *stanza.Stanza {
		if !shows {
			return c.goodbye(o, i, jid.JID{}, text, codes...)
		}
		return c.goodbye(o, i, full, text, codes...)
	})
}

// toOthers sends the clients of all occupants but one what is made for those who see full JIDs, and for those who do not.
func (c *chat) toOthers(t *turn, o *occupant, make func(shows bool) *stanza.Stanza) {
	var to [2][]jid.JID
	for _, other := range c.occupants {
		if other == o {
			continue
		}
		k := 0
		if c.cfg.Shows(other.Role) {
			k = 1
		}
		to[k] = other.addresses(to[k])
	}
	for k, list := range to {
		if len(list) > 0 {
			t.send(make(k == 1), list...)
		}
	}
}

// addresses appends those of an occupant's clients.
func (o *occupant) addresses(to []jid.JID) []jid.JID {
	for _, x := range o.seats {
		to = append(to, x.full)
	}
	return to
}

// goodbye is the unavailable presence of an occupant.
func (c *chat) goodbye(o *occupant, i item, full jid.JID, text *stanza.Stanza, codes ...code) *stanza.Stanza {
	i.jid = full
	p := stanza.New(stanza.Presence, stanza.TypeUnavailable)
	if text != nil {
		p = text.Clone()
		p.Type = stanza.TypeUnavailable
	}
	p.From, p.To = o.jid, jid.JID{}
	return p.Add(userX(i, codes...), occupantIDElement(o.id))
}

// seen is the presence of an occupant as those see it who see full JIDs or do not. It is made once and shared.
func (c *chat) seen(o *occupant, shows bool) *stanza.Stanza {
	k := 0
	if shows {
		k = 1
	}
	if o.told[k] == nil {
		o.told[k] = c.presenceOf(o, shows)
		o.told[k].Wire()
	}
	return o.told[k]
}

// seenBy is the presence of an occupant as somebody of this role sees it.
func (c *chat) seenBy(o *occupant, r room.Role) *stanza.Stanza { return c.seen(o, c.cfg.Shows(r)) }

// presenceOf makes the available presence of an occupant, with the full JID of the client that showed itself last or without.
func (c *chat) presenceOf(o *occupant, full bool, codes ...code) *stanza.Stanza {
	at := o.seats[len(o.seats)-1]
	i := item{affiliation: o.Affiliation, role: o.Role}
	if full {
		i.jid = at.full
	}
	return c.present(o, at, i, codes...)
}

// present makes an available presence of an occupant, with this item and these codes.
func (c *chat) present(o *occupant, at *seat, i item, codes ...code) *stanza.Stanza {
	p := at.presence.Clone()
	p.From = o.jid
	p.Add(userX(i, codes...), occupantIDElement(o.id))
	if x := c.hats.element(o.user); x != nil {
		p.Add(x)
	}
	return p
}

// announce tells all the present state of an occupant. The clients of the occupant hear that it is their own, with further
// codes.
func (c *chat) announce(t *turn, o *occupant, id string, codes ...code) {
	if c.cfg.Broadcasts(o.Role) {
		c.announceToOthers(t, o)
	}
	c.announceToSelf(t, o, id, codes...)
}

func (c *chat) announceToOthers(t *turn, o *occupant) {
	c.toOthers(t, o, func(shows bool) *stanza.Stanza { return c.seen(o, shows) })
}

// applyBroadcast tells all of occupants whose roles are shown from now on, and that those are gone whose roles are not
// (muc#roomconfig_presencebroadcast).
func (c *chat) applyBroadcast(t *turn, was room.Config) {
	for _, o := range c.occupants {
		switch now := c.cfg.Broadcasts(o.Role); {
		case now == was.Broadcasts(o.Role):
		case now:
			c.announceToOthers(t, o)
		default:
			c.tellAbsent(t, o, item{affiliation: o.Affiliation}, o.seats[0].full, nil)
		}
	}
}

// announceToSelf tells the clients of an occupant. They always see their own full JIDs.
func (c *chat) announceToSelf(t *turn, o *occupant, id string, codes ...code) {
	for _, x := range o.seats {
		c.tellSelf(t, x, id, codes...)
	}
}

// tellSelf sends a client the presence of its own occupant.
func (c *chat) tellSelf(t *turn, x *seat, id string, codes ...code) {
	p := c.presenceOf(x.occupant, true, withSelf(codes)...)
	if x.follows { // XEP-0463#self
		p.Child(nsUser, "x").Add(span{until: c.versionText(c.versions.now)}.element())
	}
	p.ID, p.To = id, x.full
	if id == "" {
		p.ID = x.presence.ID
	}
	t.send(p)
}

// withSelf adds the code of one's own presence, in order.
func withSelf(codes []code) []code {
	all := make([]code, 0, len(codes)+1)
	put := false
	for _, k := range codes {
		if !put && k > self {
			all, put = append(all, self), true
		}
		all = append(all, k)
	}
	if !put {
		all = append(all, self)
	}
	return all
}

// failed handles an error that answers something we sent: a client that cannot be reached is in the room no more
// (XEP-0045#service-error-kick).
func (c *chat) failed(t *turn, s *stanza.Stanza) error {
	if at := c.seats[s.From]; at != nil && fatal(s) {
		c.vanished(t, at)
		return c.closeIfEmpty(t)
	}
	return mod.Drop{Why: "an error to a room"}
}

// vanished removes a client that is gone without a word.
func (c *chat) vanished(t *turn, at *seat) { c.leave(t, at, nil, failed) }

// fatal tells whether an error says that its sender is gone.
func fatal(s *stanza.Stanza) bool {
	e := s.Err()
	if e == nil {
		return false
	}
	switch e.Condition {
	case stanza.Gone, stanza.ItemNotFound, stanza.RecipientUnavailable, stanza.Redirect, stanza.RemoteServerNotFound,
		stanza.RemoteServerTimeout, stanza.JIDMalformed, stanza.ServiceUnavailable, stanza.InternalServerError:
		return true
	}
	return false
}

// probed answers who asks for the presence of an occupant (XEP-0045#bizrules-presence), if it is one itself.
func (c *chat) probed(t *turn, s *stanza.Stanza) error {
	at := c.seats[s.From]
	if at == nil || s.To.IsBare() {
		return mod.Drop{Why: "a probe of a room"}
	}
	if o := c.find(s.To); o != nil && (c.cfg.Broadcasts(o.Role) || o == at.occupant || at.Role == room.Moderator) {
		t.send(c.seenBy(o, at.Role), s.From)
		return nil
	}
	p := stanza.New(stanza.Presence, stanza.TypeUnavailable, xmlstream.El(nsUser, "x", item{}.element(nsUser)))
	p.From, p.To = s.To, s.From
	t.send(p)
	return nil
}
