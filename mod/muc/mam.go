package muc

import (
	"context"
	"errors"
	"fmt"

	"sabir/engine/archive"
	"sabir/engine/mam"
	"sabir/engine/room"
	"sabir/mod"
	wire "sabir/xmpp/payload/mam"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// page bounds what is given of an archive at once.
func page() mam.Options { return mam.Options{Default: 50, Max: 200, Bytes: 512 << 10, Search: true} }

// mayRead tells whether somebody may read the archive of the room: who may enter it may (XEP-0313#business-storeret-muc-archives). Where a password
// stands before that, who is in or belongs to it.
func (c *chat) mayRead(r *mod.Request) error {
	if !c.here() {
		return errNoRoom()
	}
	who := c.standing(r.From.Bare())
	switch {
	case who.Affiliation == room.Outcast,
		c.cfg.MembersOnly && who.Affiliation < room.Member,
		c.cfg.Protected && who.Affiliation < room.Member && who.Role == room.NoRole:
		return stanza.Err(stanza.Forbidden, "the archive is for those who may enter the room")
	}
	return nil
}

// reader asks the room whether its archive may be read, and returns that. The reading is not the room's work: others need not wait for it.
func (m *muc) reader(ctx context.Context, r *mod.Request) (archive.Archive, error) {
	err := m.wait(ctx, r.Stanza, func(t *turn) error { return t.c.mayRead(r) })
	if err != nil {
		return archive.Archive{}, err
	}
	return m.log.Lookup(ctx, r.Account.String())
}

// mamForm tells which fields a query may have (XEP-0313#query-form).
func (m *muc) mamForm(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	if _, err := m.reader(ctx, r); err != nil && !errors.Is(err, archive.ErrNotFound) {
		return nil, err
	}
	return wire.Form(true), nil
}

// mamQuery sends a page of the archive of a room (XEP-0313#query).
func (m *muc) mamQuery(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	o := page().Within(r.Session)
	q, err := mam.Parse(r.Payload, o)
	if err != nil {
		return nil, err
	}
	a, err := m.reader(ctx, r)
	if errors.Is(err, archive.ErrNotFound) {
		return mam.None(&q)
	}
	if err != nil {
		return nil, err
	}
	var list []mod.Fan
	fin, _, err := mam.Answer(ctx, m.log, a, &q, o, func(i archive.Item) error {
		s, err := wire.Result{ID: i.ID, Stamp: i.Stamp, XML: i.Wire}.Message(r.Account, q.ID)
		if err != nil {
			return fmt.Errorf("the message %s of an archive cannot be read: %w", i.ID, err)
		}
		s.To = r.From
		list = append(list, mod.Fan{Stanza: s})
		return nil
	})
	if err != nil {
		return nil, err
	}
	if r.Session != nil { // as from the own archive: no business of what is done to messages on their way
		for _, f := range list {
			r.Session.Send(f.Stanza)
		}
		return fin, nil
	}
	m.h.RouteAll(ctx, list)
	return fin, nil
}

// mamMetadata tells where the archive of a room begins and ends (XEP-0313#archive-metadata).
func (m *muc) mamMetadata(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	a, err := m.reader(ctx, r)
	if errors.Is(err, archive.ErrNotFound) {
		return mam.Empty(), nil
	}
	if err != nil {
		return nil, err
	}
	return mam.Metadata(ctx, m.log, a)
}
