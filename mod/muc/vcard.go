package muc

import (
	"context"
	"crypto/sha1" // what XEP-0153 hashes pictures with; nothing rests on it
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"

	"sabir/engine/room"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// maxVCard bounds the vCard of a room, its picture in encoded form included.
const maxVCard = 200 << 10

// vcard returns the vCard of a room and the hash of its picture, or "" and "".
func (t store) vcard(ctx context.Context, r jid.JID) (content, hash string, err error) {
	err = t.db.QueryRow(ctx, `SELECT content, hash FROM muc_vcard WHERE room = ?`, r.String()).Scan(&content, &hash)
	if errors.Is(err, mod.ErrNoRows) {
		err = nil
	}
	return content, hash, err
}

func (t store) setVCard(ctx context.Context, tx mod.Tx, r jid.JID, content, hash string) error {
	_, err := tx.Exec(ctx, `INSERT INTO muc_vcard (room, content, hash) VALUES (?, ?, ?)
		ON CONFLICT (room) DO UPDATE SET content = excluded.content, hash = excluded.hash`, r.String(), content, hash)
	return err
}

// vcardGet gives the vCard of a room to whoever may know of the room (XEP-0486#usecases).
func (c *chat) vcardGet(t *turn, r *mod.Request) (*xmlstream.Element, error) {
	switch {
	case !c.here():
		return nil, errNoRoom()
	case c.affiliation(r.From.Bare()) == room.Outcast:
		return nil, stanza.Err(stanza.Forbidden, "you are banned from this room")
	}
	content, _, err := c.m.store.vcard(t.ctx, c.jid)
	if err != nil {
		return nil, err
	}
	if content == "" {
		return nil, stanza.Err(stanza.ItemNotFound, "the room has no vCard")
	}
	return xmlstream.Parse(content, limits)
}

// vcardSet takes a vCard from an owner and tells the occupants that there is one (XEP-0486#owner-publish).
func (c *chat) vcardSet(t *turn, r *mod.Request) (*xmlstream.Element, error) {
	if err := c.owned(r.From); err != nil {
		return nil, err
	}
	if c.locked {
		return nil, stanza.Err(stanza.NotAllowed, "configure the room first")
	}
	content := r.Payload.String()
	if len(content) > maxVCard {
		return nil, stanza.Errf(stanza.PolicyViolation, "a vCard has at most %d bytes", maxVCard)
	}
	hash, err := pictureHash(r.Payload)
	if err != nil {
		return nil, err
	}
	if err := t.write(func(tx mod.Tx) error { return c.m.store.setVCard(t.ctx, tx, c.jid, content, hash) }); err != nil {
		return nil, err
	}
	c.picture = hash
	t.answer()
	c.announcement(t, configChanged)
	return nil, nil
}

// pictureHash is the SHA-1 of the picture in a vCard, or "" (XEP-0486#disco-avatar-hash).
func pictureHash(v *xmlstream.Element) (string, error) {
	text := strings.Join(strings.Fields(v.Child(nsVCard, "PHOTO").ChildText(nsVCard, "BINVAL")), "")
	if text == "" {
		return "", nil
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", stanza.Err(stanza.BadRequest, "the picture is not in Base64")
	}
	h := sha1.Sum(b)
	return hex.EncodeToString(h[:]), nil
}
