package muc

import (
	"context"
	"time"

	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// cleanEvery is how often messages are looked for that are too old.
const cleanEvery = 6 * time.Hour

// clean deletes from the archives what is too old, until the host stops.
func (m *muc) clean(ctx context.Context) {
	tick := time.NewTicker(cleanEvery)
	defer tick.Stop()
	for {
		if m.c.Keep > 0 {
			before := m.h.Clock().Now().Add(-time.Duration(m.c.Keep))
			err := m.log.Retain(ctx, func(string) time.Time { return before })
			if err != nil && ctx.Err() == nil {
				m.h.Log().Error("old messages are not deleted from the archives of rooms", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// announce carries a message of an admin to the service into all rooms in which somebody is.
func (m *muc) announce(s *stanza.Stanza) error {
	if !m.admin(s.From.Bare()) || s.Body() == "" {
		return stanza.Err(stanza.ServiceUnavailable, "the service itself reads no messages")
	}
	m.tellRooms(s)
	return nil
}

// tellRooms has the rooms in which somebody is pass a message on as their own.
func (m *muc) tellRooms(s *stanza.Stanza) {
	for _, c := range m.loaded() {
		k := task{do: func(t *turn) error {
			if len(t.c.seats) > 0 {
				t.pronounce(s)
			}
			return nil
		}}
		if taken, _ := c.loop.Put(k); !taken {
			m.h.Log().Warn("an announcement did not get into a room", "room", c.jid.String())
		}
	}
}

// pronounce has the room itself say something.
func (t *turn) pronounce(s *stanza.Stanza) {
	a := s.Clone()
	a.Remove(ours)
	a.Type, a.From, a.To = stanza.TypeGroupchat, t.c.jid, jid.JID{}
	t.said = append(t.said, said{s: a, archive: t.c.exists && !t.c.cfg.Unarchived})
	t.commit()
}
