package offline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// limits are those of a stored message: what was accepted once is accepted again, with the delay that was added.
var limits = xmlstream.Limits{Bytes: 16 << 20, Depth: 200, Attrs: 200, Children: 100000, Name: 1 << 16}

// store is the table offline_message.
type store struct{ db mod.DB }

// message is a row.
type message struct {
	id   int64
	size int
	wire string
	// archived says that the archive of the account has it, too.
	archived bool
}

// parse returns the stanza.
func (m message) parse() (*stanza.Stanza, error) {
	f, err := xmlstream.ParseFrame(m.wire, limits)
	if err != nil {
		return nil, err
	}
	s, bad := stanza.FromFrame(f)
	if bad != nil {
		return nil, bad
	}
	if s == nil {
		return nil, fmt.Errorf("no stanza")
	}
	return s, nil
}

// usage returns how many messages and bytes an account has.
func (t store) usage(ctx context.Context, account jid.JID) (messages, bytes int, err error) {
	err = t.db.QueryRow(ctx, `SELECT count(*), CAST(coalesce(sum(size), 0) AS BIGINT) FROM offline_message WHERE account = ?`,
		account.String()).Scan(&messages, &bytes)
	return messages, bytes, err
}

func (t store) add(ctx context.Context, tx mod.Tx, account jid.JID, expires time.Time, archived bool, wire string) error {
	kept := 0
	if archived {
		kept = 1
	}
	_, err := tx.Exec(ctx, `INSERT INTO offline_message (account, expires, size, archived, stanza) VALUES (?, ?, ?, ?, ?)`,
		account.String(), expires, len(wire), kept, wire)
	return err
}

// page returns messages of an account, oldest first: at least one, and no more than the limits allow. more tells whether
// others follow.
func (t store) page(ctx context.Context, account jid.JID, now time.Time, messages, bytes int) (list []message, more bool, err error) {
	rows, err := t.db.Query(ctx, `SELECT id, size, archived <> 0, stanza FROM offline_message WHERE account = ? AND expires > ? ORDER BY id LIMIT ?`,
		account.String(), now, messages+1)
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	sum := 0
	for rows.Next() {
		var m message
		if err := rows.Scan(&m.id, &m.size, &m.archived, &m.wire); err != nil {
			return nil, false, err
		}
		if sum += m.size; len(list) > 0 && (len(list) == messages || sum > bytes) {
			return list, true, nil
		}
		list = append(list, m)
	}
	return list, false, rows.Err()
}

// last returns the id of the newest message of an account, 0 where none waits.
func (t store) last(ctx context.Context, account jid.JID) (id int64, err error) {
	err = t.db.QueryRow(ctx, `SELECT coalesce(max(id), 0) FROM offline_message WHERE account = ?`, account.String()).Scan(&id)
	return id, err
}

func (t store) deleteUpTo(ctx context.Context, tx mod.Tx, account jid.JID, id int64) error {
	_, err := tx.Exec(ctx, `DELETE FROM offline_message WHERE account = ? AND id <= ?`, account.String(), id)
	return err
}

// expire deletes the messages whose time has come, of all hosts.
func (t store) expire(ctx context.Context, tx mod.Tx, now time.Time) error {
	_, err := tx.Exec(ctx, `DELETE FROM offline_message WHERE expires <= ?`, now)
	return err
}

func (t store) remove(ctx context.Context, tx mod.Tx, account jid.JID) error {
	_, err := tx.Exec(ctx, `DELETE FROM offline_message WHERE account = ?`, account.String())
	return err
}
