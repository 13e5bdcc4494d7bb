package muc

import (
	"context"
	"time"

	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// checkAll asks all clients in the room for a sign of life and removes those that are gone (XEP-0045#impl-service-ghosts): after a
// restart nobody has told us.
func (c *chat) checkAll(t *turn) {
	for full := range c.seats {
		c.check(t, full)
	}
}

// check asks one client. An answer of whatever kind that comes from it is a sign of life; an error that says that it is gone, or none, is not.
func (c *chat) check(t *turn, full jid.JID) {
	q := stanza.NewIQ(stanza.TypeGet, c.jid, full, xmlstream.El(nsPing, "ping"))
	m, r := c.m, c.jid
	t.flush()
	m.h.Ask(t.ctx, q, func(a *stanza.Stanza) {
		if a != nil && !goneFor(a) {
			return
		}
		k := task{do: func(t *turn) error {
			if at := t.c.seats[full]; at != nil && !t.c.alive(full) {
				t.c.vanished(t, at)
				return t.c.closeIfEmpty(t)
			}
			return nil
		}}
		if err := m.put(r, k); err != nil {
			m.h.Log().Debug("a ghost remains for now", "room", r.String(), "error", err)
		}
	})
}

// goneFor tells whether the answer to a ping says that its recipient is not there. A client that does not know pings
// answers with service-unavailable as well as the server of one that is gone: see alive.
func goneFor(a *stanza.Stanza) bool { return a.Type == stanza.TypeError && fatal(a) }

// alive tells whether a client of this host is bound. Of others we know what they answer.
func (c *chat) alive(full jid.JID) bool {
	return full.DomainJID() == c.m.h.Domain() && c.m.h.Session(full) != nil
}

const (
	// ghostsEvery is how often clients of other servers are asked for a sign of life.
	ghostsEvery = 30 * time.Minute
	// grace is how long after a start those who were in a room are waited for, with sessions that they resume.
	grace = 10 * time.Minute
)

// haunt looks for ghosts, until the host stops: a while after the start in all rooms in which somebody was, from then on
// among the clients of other servers. Those of this host say when they end.
func (m *muc) haunt(ctx context.Context) {
	for wait := grace; ; wait = ghostsEvery {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if wait == grace {
			m.revive(ctx)
			continue
		}
		for _, c := range m.loaded() {
			// One that has too much to do finds out by itself, by what bounces.
			c.loop.Put(task{do: func(t *turn) error {
				for full := range t.c.seats {
					if full.DomainJID() != m.h.Domain() {
						t.c.check(t, full)
					}
				}
				return nil
			}})
		}
	}
}

// revive loads the rooms in which somebody was when the process ended, and looks for ghosts there.
func (m *muc) revive(ctx context.Context) {
	all, err := m.store.occupied(ctx, m.svc.Domain)
	if err != nil && ctx.Err() == nil {
		m.h.Log().Error("rooms that were occupied not found", "error", err)
	}
	for _, r := range all {
		if err := m.put(r, task{do: func(t *turn) error { t.c.checkAll(t); return nil }}); err != nil {
			m.h.Log().Warn("ghosts remain for now", "room", r.String(), "error", err)
		}
	}
}
