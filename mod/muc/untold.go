package muc

import (
	"context"

	"sabir/engine/archive"
	"sabir/engine/room"
	"sabir/mod"
	"sabir/xmpp/jid"
)

// A message is committed to the archive of the room, and after that to the journals of the sessions that are sent it
// (XEP-0198). If the server ends suddenly in between, those who resume their sessions would never hear it. So the first
// commit notes that it is untold, a later one of no haste that it was told, and after a start the room says again what is noted.
// Who has heard it knows it by its id (XEP-0359).

// toldAll has it noted, a little later, that everybody was told.
func (t *turn) toldAll() {
	if t.untold == "" || !t.c.exists {
		return
	}
	store, r, id := t.c.m.store, t.c.jid, t.untold
	t.untold = ""
	t.c.m.later.Put("untold "+r.String(), func(tx mod.Tx) error { return store.removeUntold(context.Background(), tx, r, id) })
}

// restored has the rooms tell again what those who resume their sessions may not have been told before a sudden end.
func (m *muc) restored(ctx context.Context) {
	all, err := m.store.allUntold(ctx, m.svc.Domain)
	if err != nil {
		m.h.Log().Error("what was not told in rooms is not known", "error", err)
	}
	for r, id := range all {
		if err := m.in(ctx, r, func(t *turn) error { return t.tellAgain(id) }); err != nil {
			m.h.Log().Error("a room does not tell again what it may not have told", "room", r.String(), "error", err)
		}
	}
}

// tellAgain sends everybody the messages from one on.
func (t *turn) tellAgain(first string) error {
	c := t.c
	if !c.exists {
		return nil
	}
	t.untold = first
	for q := (archive.Query{IDs: []string{first}, Limit: 1}); ; q = (archive.Query{After: first, Limit: room.MaxHistory}) {
		page, err := c.m.log.Page(t.ctx, c.archive, q)
		if err != nil {
			return err
		}
		for _, i := range page.Items {
			if s := c.asTold(i); s != nil && !i.Tombstone {
				c.toAll(t, s)
			}
			first = i.ID
		}
		if len(page.Items) == 0 && q.IDs == nil {
			break
		}
	}
	return nil
}

func (t store) setUntold(ctx context.Context, tx mod.Tx, r, service jid.JID, id string) error {
	_, err := tx.Exec(ctx, `INSERT INTO muc_untold (room, service, id) VALUES (?, ?, ?) ON CONFLICT (room) DO UPDATE SET id = excluded.id`,
		r.String(), service.String(), id)
	return err
}

// removeUntold ends what began with a message, unless a later one has taken its place.
func (t store) removeUntold(ctx context.Context, tx mod.Tx, r jid.JID, id string) error {
	_, err := tx.Exec(ctx, `DELETE FROM muc_untold WHERE room = ? AND id = ?`, r.String(), id)
	return err
}

func (t store) allUntold(ctx context.Context, service jid.JID) (all map[jid.JID]string, err error) {
	all = make(map[jid.JID]string)
	err = t.each(ctx, func(scan func(...any) error) error {
		var r, id string
		if err := scan(&r, &id); err != nil {
			return err
		}
		j, err := jid.Parse(r)
		all[j] = id
		return err
	}, `SELECT room, id FROM muc_untold WHERE service = ?`, service.String())
	return all, err
}
