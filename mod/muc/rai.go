package muc

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"sabir/engine/archive"
	"sabir/engine/room"
	"sabir/engine/urgency"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

const nsRAI = "urn:xmpp:rai:0"

// maxIndicated bounds the rooms of which a client hears when it asks.
const maxIndicated = 500

// indicators are the clients that want to hear of rooms that they are not in (XEP-0437): by bare and full JID, with the rooms
// of which they have heard since they were in them.
type indicators struct {
	mu sync.Mutex
	by map[jid.JID]map[jid.JID]map[jid.JID]bool
}

// add begins or renews the wish of a client.
func (i *indicators) add(full jid.JID) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.by == nil {
		i.by = make(map[jid.JID]map[jid.JID]map[jid.JID]bool)
	}
	clients := i.by[full.Bare()]
	if clients == nil {
		clients = make(map[jid.JID]map[jid.JID]bool)
		i.by[full.Bare()] = clients
	}
	clients[full] = make(map[jid.JID]bool)
}

// remove ends it.
func (i *indicators) remove(full jid.JID) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.by[full.Bare()], full)
	if len(i.by[full.Bare()]) == 0 {
		delete(i.by, full.Bare())
	}
}

// entered notes that a client is in a room: what comes after it has left is news again.
func (i *indicators) entered(full, room jid.JID) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.by[full.Bare()][full], room)
}

// first tells whether a client wants to hear of a room and has not.
func (i *indicators) first(full, room jid.JID) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	heard, wants := i.by[full.Bare()][full]
	if !wants || heard[room] {
		return false
	}
	heard[room] = true
	return true
}

// news returns the clients of members that are not in a room, want to hear of it and have not. They are as good as told.
func (i *indicators) news(c *chat) (all []jid.JID) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.by) == 0 {
		return nil
	}
	for who, a := range c.associates {
		if a.affiliation < room.Member {
			continue
		}
		for full, heard := range i.by[who] {
			if !heard[c.jid] && c.seats[full] == nil {
				heard[c.jid] = true
				all = append(all, full)
			}
		}
	}
	return all
}

// follow takes presence to the service: with it a client says whether it wants to hear of the rooms of which its user is a member
// (XEP-0437#usecases). This is for users of this host.
func (m *muc) follow(s *stanza.Stanza) error {
	switch {
	case s.Type == stanza.TypeUnavailable && s.From.DomainJID() == m.h.Domain():
		m.rai.remove(s.From)
		return nil
	case s.Type != stanza.TypeAvailable || !s.Has(nsRAI, "rai") || !s.From.IsFull() || s.From.DomainJID() != m.h.Domain():
		return mod.Drop{Why: "the service follows nobody's presence"}
	}
	full := s.From.Clone()
	m.rai.add(full)
	m.h.Go("activity", func(ctx context.Context) { m.catchUp(ctx, full) })
	return nil
}

// catchUp tells a client of the rooms in which something was said since its user was there.
func (m *muc) catchUp(ctx context.Context, full jid.JID) {
	rooms, err := m.news(ctx, full)
	if err != nil {
		if ctx.Err() == nil {
			m.h.Log().Error("the activity of rooms is not told", "to", full.String(), "error", err)
		}
		return
	}
	rooms = slices.DeleteFunc(rooms, func(r jid.JID) bool { return !m.rai.first(full, r) })
	if len(rooms) > 0 {
		m.h.Route(ctx, m.indication(full, rooms...))
	}
}

// news returns the rooms of which a user is a member, in which the client is not, and which have a message since the user was there.
func (m *muc) news(ctx context.Context, full jid.JID) (rooms []jid.JID, err error) {
	if err := m.later.Flush(ctx); err != nil {
		return nil, err
	}
	list, err := m.store.memberships(ctx, m.svc.Domain, full)
	if err != nil {
		return nil, err
	}
	for _, k := range list {
		a, err := m.log.Lookup(ctx, k.room.String())
		if errors.Is(err, archive.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		page, err := m.log.Page(ctx, a, archive.Query{Last: true, Limit: 1})
		if err != nil {
			return nil, err
		}
		if len(page.Items) > 0 && page.Items[0].Stamp.After(k.left) {
			rooms = append(rooms, k.room)
		}
	}
	return rooms, nil
}

// indication says that there is something new in rooms (XEP-0437#usecases).
func (m *muc) indication(to jid.JID, rooms ...jid.JID) *stanza.Stanza {
	x := xmlstream.El(nsRAI, "rai")
	for _, r := range rooms {
		x.Add(xmlstream.El(nsRAI, "activity", r.String()))
	}
	s := stanza.New(stanza.Message, stanza.TypeNormal, x)
	s.ID, s.From, s.To = stanza.NewID(), m.svc.Domain, to
	return s
}

// indicate tells members' clients that are not in the room of the first message since they were (XEP-0437#rules).
func (c *chat) indicate(t *turn, r *said) {
	if !r.archive || !c.exists || !urgency.Notifies(r.s) {
		return
	}
	for _, full := range c.m.rai.news(c) {
		t.send(c.m.indication(full, c.jid))
	}
}

// left notes when a member was in the room last, who may ask (follow).
func (c *chat) left(who jid.JID) {
	if !c.exists || !c.local(who, c.associates[who]) || len(c.of(who)) > 0 {
		return
	}
	store, r, at := c.m.store, c.jid, c.m.h.Clock().Now()
	c.m.later.Put("left "+r.String()+" "+who.String(), func(tx mod.Tx) error { return store.left(context.Background(), tx, r, who, at) })
}

// membership is a room of which somebody is a member, and when that member was there last.
type membership struct {
	room jid.JID
	left time.Time
}

// memberships returns the rooms of a service of which a user is a member, and in which the client is not.
func (t store) memberships(ctx context.Context, service, full jid.JID) (list []membership, err error) {
	err = t.each(ctx, func(scan func(...any) error) error {
		var r string
		var at int64
		if err := scan(&r, &at); err != nil {
			return err
		}
		j, err := jid.Parse(r)
		list = append(list, membership{j, time.UnixMicro(at)})
		return err
	}, `SELECT a.room, COALESCE(l.at, 0) FROM muc_affiliation a
		JOIN muc_room r ON r.room = a.room LEFT JOIN muc_left l ON l.room = a.room AND l.jid = a.jid
		WHERE a.jid = ? AND a.affiliation >= ? AND r.service = ?
		AND NOT EXISTS (SELECT 1 FROM muc_occupant o WHERE o.room = a.room AND o.jid = ?) ORDER BY a.room LIMIT ?`,
		full.Bare().String(), int64(room.Member), service.String(), full.String(), maxIndicated)
	return list, err
}

func (t store) left(ctx context.Context, tx mod.Tx, r, who jid.JID, at time.Time) error {
	_, err := tx.Exec(ctx, `INSERT INTO muc_left (room, jid, at) SELECT room, ?, ? FROM muc_room WHERE room = ?
		ON CONFLICT (room, jid) DO UPDATE SET at = excluded.at`, who.String(), at.UnixMicro(), r.String())
	return err
}
