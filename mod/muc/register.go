package muc

import (
	"errors"

	"sabir/engine/room"
	"sabir/mod"
	"sabir/xmpp/payload/dataform"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// registration is the form of muc#register (XEP-0045#register). A nick is all that a room needs to know.
func registration(nick string) *dataform.Form {
	f := dataform.New(dataform.TypeForm, formRegister, dataform.Field{
		Var: "muc#register_roomnick", Type: dataform.TextSingle, Label: "Nick that is reserved for you", Required: true, Values: one(nick),
	})
	f.Title = "Registration"
	f.Instructions = []string{"Become a member of this room, with a nick that nobody else may use."}
	return f
}

// mayRegister tells whether a user may register (XEP-0045#register): in an open room everybody may who is not banned, in
// a members-only room its members, for a nick, and where admins approve that, whoever asks.
func (c *chat) mayRegister(a room.Affiliation) *stanza.Error {
	switch {
	case !c.here():
		return errNoRoom()
	case c.cfg.NoRegister, c.cfg.MembersOnly && a < room.Member && !c.cfg.ApproveRegister, a == room.Outcast:
		return stanza.Err(stanza.NotAllowed, "you may not register with this room")
	}
	return nil
}

func (c *chat) registerGet(t *turn, r *mod.Request) (*xmlstream.Element, error) {
	user := r.From.Bare()
	if e := c.mayRegister(c.affiliation(user)); e != nil {
		return nil, e
	}
	q := xmlstream.El(nsRegister, "query")
	nick := c.associates[user].nick
	if nick != "" {
		q.Add(xmlstream.El(nsRegister, "registered"), xmlstream.El(nsRegister, "username", nick))
	}
	return q.Add(xmlstream.El(nsRegister, "instructions", "Fill in the form to register with this room."), registration(nick).Element()), nil
}

func (c *chat) registerSet(t *turn, r *mod.Request) (*xmlstream.Element, error) {
	user := r.From.Bare().Clone()
	if e := c.mayRegister(c.affiliation(user)); e != nil {
		return nil, e
	}
	was := c.associates[user]
	if r.Payload.Child(nsRegister, "remove") != nil {
		return nil, c.unregister(t, r, was)
	}
	x := r.Payload.Child(dataform.NS, "x")
	if x == nil {
		return nil, stanza.Err(stanza.BadRequest, "a form is missing")
	}
	f, err := dataform.Parse(x)
	if err != nil {
		return nil, stanza.Err(stanza.BadRequest, err.Error())
	}
	if f.Type == dataform.TypeCancel {
		return nil, nil
	}
	s, err := registration("").Submit(f)
	if err != nil {
		return nil, stanza.Err(stanza.BadRequest, err.Error()) // XEP-0045#register
	}
	nick := s.Field("muc#register_roomnick").Value()
	at, err := c.jid.WithResource(nick)
	if err != nil || !goodNick(nick) {
		return nil, stanza.Err(stanza.NotAcceptable, "a nick shows something and is not too long")
	}
	nick = at.Resource()
	if o := c.nicks[nickKey(nick)]; c.reservedFor(nick, user) || o != nil && o.user != user {
		return nil, stanza.Err(stanza.Conflict, "somebody else has this nick")
	}
	if c.cfg.ApproveRegister && was.affiliation < room.Member {
		return nil, c.askAdmins(t, user, nick)
	}
	now := move{user, associate{affiliation: max(was.affiliation, room.Member), nick: nick}}
	if err := c.storeAffiliations(t, now); err != nil {
		return nil, err
	}
	t.answer()
	c.applyAffiliation(t, now, item{})
	return nil, nil
}

// unregister ends a membership by the member's own wish.
func (c *chat) unregister(t *turn, r *mod.Request, was associate) error {
	user := r.From.Bare().Clone()
	now := move{user, associate{affiliation: was.affiliation, reason: was.reason}}
	switch was.affiliation {
	case room.Member:
		now.affiliation = room.None
	case room.None:
		_, _, err := c.m.store.requested(t.ctx, c.jid, user.String(), "")
		if err == nil { // one takes the request back
			return t.write(func(tx mod.Tx) error { return c.m.store.decided(t.ctx, tx, c.jid, user) })
		} else if !errors.Is(err, mod.ErrNoRows) {
			return err
		}
		return stanza.Err(stanza.RegistrationRequired, "you are not registered with this room") // XEP-0077
	}
	if err := c.storeAffiliations(t, now); err != nil {
		return err
	}
	t.answer()
	c.applyAffiliation(t, now, item{})
	return c.closeIfEmpty(t)
}
