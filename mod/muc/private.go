package muc

import (
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/sid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// private carries a message to one occupant (XEP-0045#privatemessage).
func (c *chat) private(t *turn, s *stanza.Stanza) error {
	at, err := c.seatOf(s.From)
	switch {
	case err != nil:
		return err
	case s.Type == stanza.TypeGroupchat:
		return stanza.Err(stanza.BadRequest, "a private message is not of type groupchat")
	case !c.cfg.Private(at.Role):
		return stanza.Err(stanza.Forbidden, "you may not send private messages in this room")
	}
	to := c.find(s.To)
	if to == nil {
		return stanza.Err(stanza.ItemNotFound, "there is no such occupant")
	}
	p := sid.Strip(s, c.jid).Clone()
	p.Remove(ours)
	p.From, p.To = at.jid, jid.JID{}
	p.Add(xmlstream.El(nsUser, "x"), occupantIDElement(at.id))
	t.send(p, to.addresses(nil)...) // XEP-0045#enter-conflict: to all clients
	return nil
}
