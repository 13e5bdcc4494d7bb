package muc

import (
	"context"
	"errors"

	"sabir/engine/room"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/dataform"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// maxRequests is how many registrations of a room may wait for approval.
const maxRequests = 200

// askAdmins keeps a request to register and asks the owners and admins about it, those who are away too (XEP-0045#regapprove).
func (c *chat) askAdmins(t *turn, user jid.JID, nick string) error {
	n, err := c.m.store.requests(t.ctx, c.jid)
	if err != nil {
		return err
	}
	if n >= maxRequests {
		return stanza.Err(stanza.ResourceConstraint, "too many requests wait for the admins of this room").OfType(stanza.Wait)
	}
	if err := t.write(func(tx mod.Tx) error {
		return c.m.store.request(t.ctx, tx, c.jid, user, nick, c.m.h.Clock().Now().UnixMicro())
	}); err != nil {
		return err
	}
	t.answer()
	f := dataform.New(dataform.TypeForm, formRegister,
		dataform.Field{Var: "muc#jid", Type: dataform.JIDSingle, Label: "User", Values: []string{user.String()}},
		dataform.Field{Var: "muc#register_roomnick", Type: dataform.TextSingle, Label: "Desired Nickname", Values: []string{nick}},
		dataform.Field{Var: "muc#register_allow", Type: dataform.Boolean, Label: "Allow this person to register with the room?", Values: []string{"0"}},
	)
	f.Title = "Registration request"
	f.Instructions = []string{"Somebody asks to be a member of this room. Cancel to decide later."}
	m := stanza.New(stanza.Message, stanza.TypeNormal, f.Element())
	m.ID, m.From = stanza.NewID(), c.jid
	for who, a := range c.associates {
		if a.affiliation >= room.Admin {
			c.toUser(t, m, who)
		}
	}
	return nil
}

// toUser sends a message to the clients of a user that are in the room, or to the user where none is.
func (c *chat) toUser(t *turn, m *stanza.Stanza, who jid.JID) {
	var to []jid.JID
	for _, o := range c.of(who) {
		to = o.addresses(to)
	}
	if to == nil {
		to = append(to, who)
	}
	t.send(m, to...)
}

// registerAnswer takes what an admin has decided about a request (XEP-0045#regapprove). The user is named by address, or by the nick.
func (c *chat) registerAnswer(t *turn, from jid.JID, f *dataform.Form) error {
	if c.affiliation(from.Bare()) < room.Admin {
		return stanza.Err(stanza.Forbidden, "only admins decide about registrations")
	}
	if f.Type == dataform.TypeCancel {
		return nil
	}
	allow, ok := f.Field("muc#register_allow").Bool()
	if f.Type != dataform.TypeSubmit || !ok || f.Field("muc#register_allow") == nil {
		return stanza.Err(stanza.BadRequest, "an answer to a registration allows it or does not")
	}
	user, nick, err := c.m.store.requested(t.ctx, c.jid, f.Field("muc#jid").Value(), f.Field("muc#register_roomnick").Value())
	if errors.Is(err, mod.ErrNoRows) {
		return stanza.Err(stanza.ItemNotFound, "there is no such request, or somebody has decided about it")
	}
	if err != nil {
		return err
	}
	was := c.associates[user]
	now := move{user, associate{affiliation: max(was.affiliation, room.Member), nick: nick}}
	switch {
	case allow && was.affiliation == room.Outcast:
		return stanza.Err(stanza.NotAllowed, "this user is banned from the room")
	case allow && c.reservedFor(nick, user):
		return stanza.Err(stanza.Conflict, "this nick is reserved for somebody else by now")
	}
	err = t.write(func(tx mod.Tx) error {
		if err := c.m.store.decided(t.ctx, tx, c.jid, user); err != nil || !allow {
			return err
		}
		return c.writeMoves(t.ctx, tx, []move{now})
	})
	if err != nil {
		return err
	}
	if allow {
		c.applyAffiliation(t, now, item{actor: c.actor(from)})
		return nil
	}
	m := stanza.New(stanza.Message, stanza.TypeNormal, xmlstream.El(stanza.NSClient, "body", "The admins of this room did not accept your registration."))
	m.ID, m.From = stanza.NewID(), c.jid
	c.toUser(t, m, user)
	return nil
}

func (t store) request(ctx context.Context, tx mod.Tx, r, who jid.JID, nick string, at int64) error {
	_, err := tx.Exec(ctx, `INSERT INTO muc_request (room, jid, nick, asked) VALUES (?, ?, ?, ?)
		ON CONFLICT (room, jid) DO UPDATE SET nick = excluded.nick, asked = excluded.asked`, r.String(), who.String(), nick, at)
	return err
}

func (t store) decided(ctx context.Context, tx mod.Tx, r, who jid.JID) error {
	_, err := tx.Exec(ctx, `DELETE FROM muc_request WHERE room = ? AND jid = ?`, r.String(), who.String())
	return err
}

// requests returns how many requests wait.
func (t store) requests(ctx context.Context, r jid.JID) (n int, err error) {
	err = t.db.QueryRow(ctx, `SELECT count(*) FROM muc_request WHERE room = ?`, r.String()).Scan(&n)
	return n, err
}

// requested returns a request by the address of the user, or where that is "" the first by the nick.
func (t store) requested(ctx context.Context, r jid.JID, who, nick string) (user jid.JID, wanted string, err error) {
	var text string
	if who != "" {
		err = t.db.QueryRow(ctx, `SELECT jid, nick FROM muc_request WHERE room = ? AND jid = ?`, r.String(), who).Scan(&text, &wanted)
	} else {
		err = t.db.QueryRow(ctx, `SELECT jid, nick FROM muc_request WHERE room = ? AND nick = ? ORDER BY asked LIMIT 1`, r.String(), nick).Scan(&text, &wanted)
	}
	if err == nil {
		user, err = jid.Parse(text)
	}
	return user, wanted, err
}
