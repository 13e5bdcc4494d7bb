package vcard

import (
	"context"
	"errors"

	"sabir/mod"
	"sabir/xmpp/jid"
)

// Hash is what presence says of the picture of an account (XEP-0153#bizrules-presence): "" that there is none, HashUnknown nothing, and
// else the hash itself.
type Hash string

// HashUnknown stands for a picture of which nothing is known, such as one that is elsewhere.
const HashUnknown Hash = "?"

// GetHash returns the hash that is stored, and how often the picture has changed; ok is false where it is yet to be found out.
func GetHash(ctx context.Context, q Queryer, account jid.JID) (h Hash, rev int64, ok bool, err error) {
	var hash *string
	err = q.QueryRow(ctx, `SELECT rev, hash FROM vcard_avatar WHERE account = ?`, account.String()).Scan(&rev, &hash)
	if errors.Is(err, mod.ErrNoRows) {
		return "", 0, false, nil
	}
	if err != nil || hash == nil {
		return "", rev, false, err
	}
	return Hash(*hash), rev, true, nil
}

// PutHash stores a hash that was found out while the picture had changed rev times, unless it has changed since.
func PutHash(ctx context.Context, tx mod.Tx, account jid.JID, rev int64, h Hash) error {
	_, err := tx.Exec(ctx, `INSERT INTO vcard_avatar (account, rev, hash) VALUES (?, ?, ?)
		ON CONFLICT (account) DO UPDATE SET hash = excluded.hash WHERE vcard_avatar.rev = excluded.rev`, account.String(), rev, string(h))
	return err
}

// ForgetHash says that the picture has changed. It belongs into the transaction that changes it.
func ForgetHash(ctx context.Context, tx mod.Tx, account jid.JID) error {
	_, err := tx.Exec(ctx, `INSERT INTO vcard_avatar (account, rev, hash) VALUES (?, 1, NULL)
		ON CONFLICT (account) DO UPDATE SET rev = vcard_avatar.rev + 1, hash = NULL`, account.String())
	return err
}

// DeleteHash deletes what is stored of an account.
func DeleteHash(ctx context.Context, tx mod.Tx, account jid.JID) error {
	_, err := tx.Exec(ctx, `DELETE FROM vcard_avatar WHERE account = ?`, account.String())
	return err
}
