package muc

import (
	"context"
	"time"

	"sabir/xmpp/jid"
)

// closingTime bounds how long the end of the service waits for its rooms.
const closingTime = 5 * time.Second

// closing takes everybody out of the rooms of a service that ends for good, and tells them (XEP-0045#service-shutdown-kick). When the server
// stops nobody is: occupants are in their rooms again afterwards, with the sessions that they resume.
func (m *muc) closing(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, closingTime)
	defer cancel()
	if err := m.later.Flush(ctx); err != nil {
		m.h.Log().Warn("who is in which room is not known for sure", "error", err)
	}
	all, err := m.store.occupied(ctx, m.svc.Domain)
	if err != nil {
		m.h.Log().Warn("rooms that are not in memory are not closed", "error", err)
	}
	seen := make(map[jid.JID]bool)
	for _, r := range all {
		seen[r] = true
	}
	for _, c := range m.loaded() {
		if !seen[c.jid] {
			all = append(all, c.jid)
		}
	}
	var tasks []task
	for _, r := range all {
		k := task{do: func(t *turn) error { return t.c.dismiss(t) }, done: make(chan error, 1)}
		if err := m.put(r, k); err != nil {
			m.h.Log().Warn("a room is not closed", "room", r.String(), "error", err)
			continue
		}
		tasks = append(tasks, k)
	}
	for _, k := range tasks {
		select {
		case err := <-k.done:
			if err != nil {
				m.h.Log().Warn("a room is not closed", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// dismiss takes everybody out of the room. Each is told of no one but itself: they all leave.
func (c *chat) dismiss(t *turn) error {
	for full, at := range c.seats {
		o := at.occupant
		c.rise(at)
		bye := c.goodbye(o, item{affiliation: o.Affiliation}, full, nil, self, shutDown)
		bye.To = full
		t.send(bye)
	}
	return c.closeIfEmpty(t)
}
