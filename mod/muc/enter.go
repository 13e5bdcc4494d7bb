package muc

import (
	"context"
	"crypto/subtle"

	"sabir/engine/room"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// enter lets a client in, or sends it everything anew if it is in (XEP-0045#enter).
func (c *chat) enter(t *turn, s *stanza.Stanza, at *seat) error {
	nick := s.To.Resource()
	if !goodNick(nick) { // XEP-0045#bizrules-jids
		return stanza.Err(stanza.NotAcceptable, "a nick shows something and is not too long")
	}
	ask, err := readHistoryRequest(s)
	if err != nil {
		return err
	}
	if at != nil {
		return c.reenter(t, s, at, ask)
	}
	if !c.exists && !c.locked {
		return c.create(t, s)
	}
	user := s.From.Bare()
	affiliation := c.affiliation(user)
	if e := c.door(s, user, affiliation); e != nil {
		if err := c.byToken(t, s, user, e); err != nil {
			return err
		}
		affiliation = c.affiliation(user)
	}
	codes := c.warnings()
	nick, chosen, err := c.nickFor(user, nick)
	if err != nil {
		return err
	}
	if chosen {
		codes = append(codes, nickChosen)
	}
	role := c.roleFor(affiliation)
	if o := c.nicks[nickKey(nick)]; o != nil {
		role = o.Role // another client of the same user
	}
	c.seat(t, s, nick, role, ask, codes...)
	return nil
}

// door tells whether a user may enter (XEP-0045#enter-errorcodes).
func (c *chat) door(s *stanza.Stanza, user jid.JID, a room.Affiliation) *stanza.Error {
	switch {
	case a == room.Outcast: // XEP-0045#enter-banned
		return stanza.Err(stanza.Forbidden, "you are banned from this room")
	case c.locked: // XEP-0045#enter-locked
		return stanza.Err(stanza.ItemNotFound, "this room is not open yet")
	case c.cfg.MembersOnly && a < room.Member: // XEP-0045#enter-members
		return stanza.Err(stanza.RegistrationRequired, "this room is for its members only")
	case c.cfg.Protected && a < room.Owner && !c.password(s): // XEP-0045#enter-pw
		return stanza.Err(stanza.NotAuthorized, "this room asks for a password")
	case c.full(user, a): // XEP-0045#enter-maxusers
		return stanza.Err(stanza.ServiceUnavailable, "this room is full").OfType(stanza.Wait)
	}
	return nil
}

// byToken opens the door to who has a token, and tells who has none that holds what the door has said (XEP-0488#using).
func (c *chat) byToken(t *turn, s *stanza.Stanza, user jid.JID, e *stanza.Error) error {
	if e.Condition != stanza.RegistrationRequired && e.Condition != stanza.NotAuthorized {
		return e
	}
	ok, err := c.admitted(t, s, user)
	if err != nil {
		return err
	}
	given := s.Child(nsMUC, "x").ChildText(nsMUC, "password") != ""
	switch {
	case ok: // a member still needs a place, and where the room has a password, no other one
		if c.full(user, room.Member) {
			return stanza.Err(stanza.ServiceUnavailable, "this room is full").OfType(stanza.Wait)
		}
		return nil
	case given && !c.cfg.Protected: // what came can only have been a token
		return stanza.Err(stanza.NotAuthorized, "the token has expired, or never was").With(xmlstream.El(nsToken, "expired-token"))
	}
	return e
}

func (c *chat) password(s *stanza.Stanza) bool {
	got := s.Child(nsMUC, "x").ChildText(nsMUC, "password")
	return subtle.ConstantTimeCompare([]byte(got), []byte(c.cfg.Password)) == 1
}

// spare is how many admins and owners get into a room that is full.
const spare = 20

// full tells whether there is no place for a user, who may be in with another client.
func (c *chat) full(user jid.JID, a room.Affiliation) bool {
	limit := c.m.c.Occupants
	if c.cfg.MaxUsers > 0 {
		limit = min(limit, c.cfg.MaxUsers)
	}
	if a >= room.Admin {
		limit += spare
	}
	if len(c.occupants) < limit {
		return len(c.seats) >= 10*limit+spare // each user has several clients
	}
	for _, o := range c.occupants {
		if o.user == user {
			return false
		}
	}
	return true
}

// warnings are the codes of what who enters should know (XEP-0045#enter-nonanon, #enter-logging), in ascending order.
func (c *chat) warnings() (codes []code) {
	if c.cfg.NonAnonymous {
		codes = append(codes, nonAnonymous)
	}
	if c.cfg.Logged {
		codes = append(codes, loggedNow)
	}
	return codes
}

// nickFor returns the nick that a user gets who asks for one, and whether the service has chosen another
// (XEP-0045#register, #enter-conflict).
func (c *chat) nickFor(user jid.JID, nick string) (string, bool, error) {
	own := c.associates[user].nick
	chosen := false
	if c.cfg.LockNicks && own != "" && own != nick {
		nick, chosen = own, true
	}
	if o := c.nicks[nickKey(nick)]; o != nil {
		if o.user != user {
			return "", false, stanza.Err(stanza.Conflict, "somebody else has this nick")
		}
		return o.nick, chosen || o.nick != nick, nil
	}
	if c.reservedFor(nick, user) {
		return "", false, stanza.Err(stanza.Conflict, "this nick is reserved for somebody else")
	}
	return nick, chosen, nil
}

// reservedFor tells whether a nick is reserved for somebody other than user (XEP-0045#reservednick).
func (c *chat) reservedFor(nick string, user jid.JID) bool {
	key := nickKey(nick)
	for j, a := range c.associates {
		if a.nick != "" && j != user && nickKey(a.nick) == key {
			return true
		}
	}
	return false
}

// seat gives a client its place and sends everything in the order of XEP-0045#order: the presence of the others, its own,
// the history, the subject. What it has asked of the affiliations comes first (XEP-0463#self).
func (c *chat) seat(t *turn, s *stanza.Stanza, nick string, role room.Role, ask historyRequest, codes ...code) {
	at := c.sit(s.From.Clone(), nick, role, shown(s))
	c.keepSeat(at)
	delete(c.invited, at.user) // it has come: no answer is to be passed on any more, and no error
	c.m.rai.entered(at.full, c.jid)
	c.sendAffiliations(t, at, s)
	c.roster(t, at)
	if c.cfg.Broadcasts(role) {
		c.announceToOthers(t, at.occupant)
	}
	for _, x := range at.occupant.seats {
		if x != at {
			c.tellSelf(t, x, "")
		}
	}
	c.tellSelf(t, at, s.ID, codes...)
	c.sendHistory(t, at, ask)
	c.sendSubject(t, at)
}

// roster sends a client the presence of all other occupants (XEP-0045#enter-pres).
func (c *chat) roster(t *turn, at *seat) {
	for _, o := range c.occupants {
		if o != at.occupant && c.cfg.Broadcasts(o.Role) {
			t.send(c.seenBy(o, at.Role), at.full)
		}
	}
}

// reenter sends a client that is in already all that it would get on entering: it has lost track (XEP-0045#enter-muc).
func (c *chat) reenter(t *turn, s *stanza.Stanza, at *seat, ask historyRequest) error {
	if s.To.Resource() != at.nick {
		if err := c.changeNick(t, s, at); err != nil {
			return err
		}
		at = c.seats[s.From]
	}
	at.show(s)
	c.keepSeat(at)
	c.sendAffiliations(t, at, s)
	c.roster(t, at)
	if c.cfg.Broadcasts(at.Role) {
		c.announceToOthers(t, at.occupant)
	}
	codes := c.warnings()
	if c.locked {
		codes = append(codes, created)
	}
	c.tellSelf(t, at, s.ID, codes...)
	c.sendHistory(t, at, ask)
	c.sendSubject(t, at)
	return nil
}

// create makes a room for its first occupant (XEP-0045#createroom).
func (c *chat) create(t *turn, s *stanza.Stanza) error {
	user := s.From.Bare().Clone()
	if err := c.mayCreate(t.ctx, user); err != nil {
		return err
	}
	c.clear()
	c.kept = kept{cfg: c.m.c.newRoom(), creator: user, created: c.m.h.Clock().Now()}
	c.become(user, associate{affiliation: room.Owner})
	c.locked = true
	if !c.m.c.Lock {
		if err := c.unlock(t, c.cfg, nil); err != nil {
			c.state = state{loaded: true}
			c.clear()
			return err
		}
	}
	c.seat(t, s, s.To.Resource(), room.Moderator, historyRequest{}, append(c.warnings(), created)...)
	return nil
}

// mayCreate tells whether a user may create the room.
func (c *chat) mayCreate(ctx context.Context, user jid.JID) error {
	m := c.m
	if m.admin(user) {
		return nil
	}
	if m.c.Create == "admins" || m.c.Create == "local" && user.DomainJID() != m.h.Domain() { // XEP-0045#createroom-general
		return stanza.Err(stanza.NotAllowed, "you may not create rooms here")
	}
	if m.c.Rooms == 0 && m.c.PerUser == 0 {
		return nil
	}
	all, own, err := m.store.count(ctx, m.svc.Domain, user)
	switch {
	case err != nil:
		return err
	case m.c.Rooms > 0 && all >= m.c.Rooms:
		return stanza.Err(stanza.ResourceConstraint, "there are too many rooms")
	case m.c.PerUser > 0 && own >= m.c.PerUser:
		return stanza.Err(stanza.ResourceConstraint, "you have created too many rooms")
	}
	return nil
}

// unlock opens a room that is new, with its first configuration, and has it stored, with changes of affiliations that are still to
// be applied.
func (c *chat) unlock(t *turn, cfg room.Config, moves []move) error {
	c.versions.floor = c.versions.now
	k := c.kept
	k.cfg = cfg
	err := t.write(func(tx mod.Tx) error {
		if err := c.m.store.put(t.ctx, tx, c.m.svc.Domain, c.jid, k); err != nil {
			return err
		}
		for who, a := range c.associates {
			if err := c.m.store.affiliate(t.ctx, tx, c.jid, who, a, c.versions.now); err != nil {
				return err
			}
		}
		if err := c.m.store.setVersions(t.ctx, tx, c.jid, c.versions); err != nil {
			return err
		}
		if err := c.writeMoves(t.ctx, tx, moves); err != nil {
			return err
		}
		if c.subject != nil {
			return c.m.store.setSubject(t.ctx, tx, c.jid, string(c.subject.Append(nil, stanza.NSClient)))
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.cfg, c.locked, c.exists = cfg, false, true
	for _, at := range c.seats {
		c.keepSeat(at)
	}
	return c.openArchive(t.ctx)
}
