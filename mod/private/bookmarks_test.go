package private

import (
	"context"
	"testing"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod"
	"sabir/mod/modtest"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/bookmark"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// busy are the nodes of an account whose bookmarks go from private storage, as by another move, just before each change.
type busy struct {
	mod.AccountNodes
	d       db.DB
	kept    *xmlstream.Element
	changes int
}

func (b *busy) Item(context.Context, jid.JID, string, string) (string, *xmlstream.Element, error) {
	return "current", b.kept, nil
}

func (b *busy) NodeItems(context.Context, jid.JID, jid.JID, string) ([]mod.DiscoItem, bool, error) {
	return nil, false, nil
}

func (b *busy) Update(ctx context.Context, account jid.JID, plan func(context.Context) ([]mod.NodeChange, func(mod.Tx) error, error)) error {
	changes, write, err := plan(ctx)
	if err != nil {
		return err
	}
	if err := b.d.Write(ctx, func(tx mod.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM private_xml WHERE account = ?`, account.String())
		return err
	}); err != nil {
		return err
	}
	b.kept = xmlstream.El(bookmark.NSList, "storage", xmlstream.El(bookmark.NSList, "url", xmlstream.A("url", "new")))
	if err = b.d.Write(ctx, write); err == nil {
		b.kept = changes[0].Payload
		b.changes++
	}
	return err
}

// What a client writes while its bookmarks are being moved is not lost for what was there before.
func TestMoveGivesWay(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		const romeo, ask = "romeo@localhost/x", "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query>"
		h := modtest.New(t, Info, modtest.WithDB(d, db.Migrate))
		if a := h.Set(romeo, "", "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'><url url='old'/></storage></query>"); a.Type != stanza.TypeResult {
			t.Fatal(a)
		}
		nodes := &busy{d: d}
		h.Hooks.AccountNodes = nodes
		h.SetDisco(mod.AtAccount, mod.Disco{Features: []string{bookmark.Conversion}})
		for range 2 {
			a := h.Get(romeo, "", ask)
			if url := a.Payload().First().Child(bookmark.NSList, "url").Attr("url"); url != "new" || nodes.changes != 0 {
				t.Errorf("got %s after %d changes", a, nodes.changes)
			}
		}
	})
}
