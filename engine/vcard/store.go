// Package vcard owns the profile of an account: its vCard, which clients know in two forms, vcard-temp (XEP-0054) and vCard4
// (XEP-0292), and its avatar, which they know from personal eventing (XEP-0084) and from the vCard (XEP-0153).
//
// Each thing has one owner. The vCard is a row of the table here, in the form vcard-temp. The avatar is what the nodes of
// XEP-0084 hold; where a vCard has it, an empty <PHOTO/> stands in its place. vCard4 is what the node of XEP-0292 holds, and
// whichever of the two forms is written last is converted to the other.
package vcard

import (
	"context"
	"embed"
	"errors"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/xmlstream"
)

// Module is the name under which Schema is migrated.
const Module = "vcard"

// Schema holds the table.
//
//go:embed schema
var Schema embed.FS

// NS qualifies a vCard (XEP-0054).
const NS = "vcard-temp"

// parse bounds what is read back: it was accepted within the limits of a stream.
var parse = xmlstream.Limits{Bytes: 16 << 20, Depth: 200, Attrs: 200, Children: 100000, Name: 1 << 16}

// Queryer is what reads: a mod.DB or a mod.Tx.
type Queryer interface {
	QueryRow(ctx context.Context, query string, args ...any) mod.Row
}

// Get returns the vCard of an account, or nil.
func Get(ctx context.Context, q Queryer, account jid.JID) (*xmlstream.Element, error) {
	var content string
	err := q.QueryRow(ctx, `SELECT content FROM vcard WHERE account = ?`, account.String()).Scan(&content)
	if errors.Is(err, mod.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return xmlstream.Parse(content, parse)
}

// Put replaces the vCard of an account. Nil, and one that is empty, deletes it.
func Put(ctx context.Context, tx mod.Tx, account jid.JID, card *xmlstream.Element) error {
	if card.First() == nil {
		_, err := tx.Exec(ctx, `DELETE FROM vcard WHERE account = ?`, account.String())
		return err
	}
	_, err := tx.Exec(ctx, `INSERT INTO vcard (account, content) VALUES (?, ?)
		ON CONFLICT (account) DO UPDATE SET content = excluded.content`, account.String(), card.String())
	return err
}
