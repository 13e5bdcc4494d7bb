package muc

import (
	"errors"

	"sabir/engine/archive"
	"sabir/engine/room"
	"sabir/mod"
	"sabir/xmpp/payload/datetime"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// retract checks the retraction of an own message (XEP-0424): r names by its stanza-id a message that the same user has
// sent. One that is not in the archive is passed on to the others, who check for themselves.
func (c *chat) retract(t *turn, r *said, id string) error {
	i, s, err := c.archived(t, id)
	if errors.Is(err, archive.ErrNotFound) || err == nil && i.Tombstone {
		return nil
	}
	if err != nil {
		return err
	}
	if s.Child(nsOccupant, "occupant-id").Attr("id") != r.by.id { // XEP-0424#rules
		return stanza.Err(stanza.Forbidden, "only its author or a moderator retracts a message")
	}
	r.target = id
	r.tomb = c.tombstone(s, xmlstream.A("id", r.s.ID))
	return nil
}

// archived returns a message of the archive.
func (c *chat) archived(t *turn, id string) (archive.Item, *stanza.Stanza, error) {
	if !c.exists || id == "" {
		return archive.Item{}, nil, archive.ErrNotFound
	}
	i, err := c.m.log.Find(t.ctx, c.archive, id)
	if err != nil {
		return i, nil, err
	}
	s, err := parse(i.Wire)
	return i, s, err
}

// tombstone is what takes the place of a retracted message (XEP-0424#tombstones): who sent it, and that it is gone.
func (c *chat) tombstone(s *stanza.Stanza, more ...any) string {
	gone := xmlstream.El(nsRetract, "retracted", xmlstream.A("stamp", datetime.Format(c.m.h.Clock().Now())))
	gone.Add(more...)
	x := stanza.New(stanza.Message, stanza.TypeGroupchat, gone, s.Child(nsOccupant, "occupant-id"))
	x.ID, x.From = s.ID, s.From
	return string(x.Append(nil, stanza.NSClient))
}

// bury takes a retracted message out of the history that who enters gets.
func (c *chat) bury(id string) {
	for i := range c.history {
		if c.history[i].id == id {
			c.history = append(c.history[:i:i], c.history[i+1:]...)
			return
		}
	}
}

// moderate retracts somebody's message by order of a moderator (XEP-0425#usecase-success).
func (c *chat) moderate(t *turn, r *mod.Request) (*xmlstream.Element, error) {
	at, err := c.seatOf(r.From)
	if err != nil {
		return nil, err
	}
	if at.Role != room.Moderator {
		return nil, stanza.Err(stanza.Forbidden, "only moderators retract the messages of others")
	}
	id := r.Payload.Attr("id")
	if r.Payload.Child(nsRetract, "retract") == nil || id == "" {
		return nil, stanza.Err(stanza.BadRequest, "a moderation names a message and says what to do with it")
	}
	i, s, err := c.archived(t, id)
	switch {
	case errors.Is(err, archive.ErrNotFound), err == nil && i.Tombstone:
		return nil, stanza.Err(stanza.ItemNotFound, "there is no such message")
	case err != nil:
		return nil, err
	}
	reason := r.Payload.ChildText(nsModerate, "reason")
	why := func() *xmlstream.Element {
		if reason == "" {
			return nil
		}
		return xmlstream.El(nsRetract, "reason", reason)
	}
	moderated := func() *xmlstream.Element {
		return xmlstream.El(nsModerate, "moderated", xmlstream.A("by", at.jid.String()), occupantIDElement(at.id))
	}
	m := stanza.New(stanza.Message, stanza.TypeGroupchat,
		xmlstream.El(nsRetract, "retract", xmlstream.A("id", id), moderated(), why()))
	m.ID, m.From = stanza.NewID(), c.jid
	t.said = append(t.said, said{s: m, archive: true, target: id, tomb: c.tombstone(s, moderated(), why())})
	t.commit()
	return nil, nil
}
