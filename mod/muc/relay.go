package muc

import (
	"context"

	"sabir/mod"
	"sabir/xmpp/payload/disco"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

func pong(context.Context, *mod.Request) (*xmlstream.Element, error) { return nil, nil }

// ping tells who may see the room that it is there (XEP-0199).
func (c *chat) ping(*turn, *mod.Request) (*xmlstream.Element, error) {
	if !c.here() {
		return nil, errNoRoom()
	}
	return nil, nil
}

// selfPing answers a client that asks whether it is still in the room (XEP-0410#serveroptimization). A ping to another
// occupant goes there.
func (c *chat) selfPing(t *turn, r *mod.Request) (*xmlstream.Element, error) {
	at := c.seats[r.From]
	if at == nil {
		return nil, stanza.Err(stanza.NotAcceptable, "you are not in this room")
	}
	if r.To.Resource() != at.nick {
		if err := c.relay(t, r.Stanza); err != nil {
			return nil, err
		}
		return nil, mod.ErrAnswered
	}
	return nil, nil
}

// other takes the iqs that the service does not answer itself: those between occupants.
func (m *muc) other(ctx context.Context, s *stanza.Stanza) error {
	if !s.Request() {
		return mod.Drop{Why: "an answer to nothing that was asked"}
	}
	if s.To.IsBare() {
		if s.To.Local() == "" {
			return stanza.Err(stanza.ServiceUnavailable, "")
		}
		return m.wait(ctx, s, func(t *turn) error {
			if !t.c.here() {
				return errNoRoom()
			}
			return stanza.Err(stanza.ServiceUnavailable, "")
		})
	}
	return m.wait(ctx, s, func(t *turn) error { return t.c.relay(t, s) })
}

func (m *muc) wait(ctx context.Context, s *stanza.Stanza, do func(t *turn) error) error {
	wait, err := m.ask(task{s: s, do: do})
	if err != nil {
		return err
	}
	return wait(ctx)
}

// relay carries a request from one occupant to another and the answer back, without telling their addresses
// (XEP-0045#impl-service-traffic). One for a vCard goes to the account, which answers in place of its clients.
func (c *chat) relay(t *turn, s *stanza.Stanza) error {
	at := c.seats[s.From]
	if at == nil {
		if n := s.PayloadName(); n.Space == disco.NSInfo || n.Space == disco.NSItems {
			return stanza.Err(stanza.BadRequest, "only occupants ask each other") // XEP-0045#disco-occupant
		}
		return stanza.Err(stanza.NotAcceptable, "only occupants ask each other")
	}
	to := c.find(s.To)
	if to == nil {
		return stanza.Err(stanza.ItemNotFound, "there is no such occupant")
	}
	if !c.cfg.Private(at.Role) {
		return stanza.Err(stanza.Forbidden, "you may not ask others in this room")
	}
	q := s.Clone()
	q.From, q.To = at.jid, to.seats[len(to.seats)-1].full
	if s.PayloadName().Space == nsVCard {
		q.To = to.user
	}
	m := c.m
	t.flush()
	m.h.Ask(t.ctx, q, func(a *stanza.Stanza) {
		if a == nil {
			a = s.ErrorReply(stanza.Err(stanza.RemoteServerTimeout, "the occupant does not answer"))
		}
		back := a.Clone()
		back.ID, back.From, back.To = s.ID, s.To, s.From
		m.h.Route(context.Background(), back)
	})
	return nil
}
