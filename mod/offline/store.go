package offline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// limits are those of a stored message: what was accepted once is accepted again, with the delay that was added.
var limits = xmlstream.Limits{Bytes: 16 << 20, Depth: 200, Attrs: 200, Children: 100000, Name: 1 << 16}

// store is the table offline_message, and offline_usage, which knows how much of it each account has: what is kept there is
// changed in the same transaction, so that nothing is counted when a message comes.
type store struct{ db mod.DB }

// message is a row.
type message struct {
	id   int64
	sent time.Time
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
	err = t.db.QueryRow(ctx, `SELECT messages, bytes FROM offline_usage WHERE account = ?`, account.String()).Scan(&messages, &bytes)
	if errors.Is(err, mod.ErrNoRows) {
		return 0, 0, nil
	}
	return messages, bytes, err
}

// add stores a message that was sent at a time, by which the messages of an account are in order: one that comes back from a
// session was sent before those that came meanwhile.
func (t store) add(ctx context.Context, tx mod.Tx, account jid.JID, sent, expires time.Time, archived bool, wire string) error {
	kept := 0
	if archived {
		kept = 1
	}
	_, err := tx.Exec(ctx, `INSERT INTO offline_message (account, sent, expires, size, archived, stanza) VALUES (?, ?, ?, ?, ?, ?)`,
		account.String(), sent, expires, len(wire), kept, wire)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO offline_usage (account, messages, bytes) VALUES (?, 1, ?) ON CONFLICT (account) DO UPDATE
		SET messages = offline_usage.messages + 1, bytes = offline_usage.bytes + excluded.bytes`, account.String(), len(wire))
	return err
}

// page returns messages of an account, oldest first: at least one, and no more than the limits allow. more tells whether
// others follow.
func (t store) page(ctx context.Context, account jid.JID, now time.Time, messages, bytes int) (list []message, more bool, err error) {
	rows, err := t.db.Query(ctx, `SELECT id, sent, size, archived <> 0, stanza FROM offline_message WHERE account = ? AND expires > ? ORDER BY sent, id LIMIT ?`,
		account.String(), now, messages+1)
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	sum := 0
	for rows.Next() {
		var m message
		if err := rows.Scan(&m.id, &m.sent, &m.size, &m.archived, &m.wire); err != nil {
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

// deleteAtOnce is how many ids deleteSome has.
const (
	deleteAtOnce = 16
	deleteSome   = `DELETE FROM offline_message WHERE id IN (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING account, size`
)

// delete deletes messages. They are named one by one: another, with an id between theirs, may have been committed since they
// were read.
func (t store) delete(ctx context.Context, tx mod.Tx, ids []int64) error {
	for some := range slices.Chunk(ids, deleteAtOnce) {
		args := make([]any, deleteAtOnce)
		for i := range args {
			args[i] = some[min(i, len(some)-1)]
		}
		if _, err := t.drop(ctx, tx, deleteSome, args...); err != nil {
			return err
		}
	}
	return nil
}

// expireAtOnce is how many messages expire in one Write, so that others do not wait for long.
const expireAtOnce = 500

// expire deletes some of the messages whose time has come, of all hosts. more tells that there may be others.
func (t store) expire(ctx context.Context, tx mod.Tx, now time.Time) (more bool, err error) {
	n, err := t.drop(ctx, tx, `DELETE FROM offline_message WHERE id IN
		(SELECT id FROM offline_message WHERE expires <= ? ORDER BY expires LIMIT ?) RETURNING account, size`, now, expireAtOnce)
	return n == expireAtOnce, err
}

// drop runs a statement that deletes messages, and takes those that it did delete off what their accounts have.
func (t store) drop(ctx context.Context, tx mod.Tx, query string, args ...any) (n int, err error) {
	gone, n, err := t.gone(ctx, tx, query, args)
	if err != nil {
		return 0, err
	}
	for _, account := range slices.Sorted(maps.Keys(gone)) { // in one order, so that transactions do not wait for each other in a ring
		g := gone[account]
		if _, err := tx.Exec(ctx, `UPDATE offline_usage SET messages = messages - ?, bytes = bytes - ? WHERE account = ?`,
			g.messages, g.bytes, account); err != nil {
			return 0, err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM offline_usage WHERE account = ? AND messages <= 0`, account); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// usage is how much an account has.
type usage struct{ messages, bytes int }

// gone runs a statement that deletes, and adds up by account what it returns.
func (t store) gone(ctx context.Context, tx mod.Tx, query string, args []any) (gone map[string]usage, n int, err error) {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	gone = make(map[string]usage)
	for rows.Next() {
		var account string
		var size int
		if err := rows.Scan(&account, &size); err != nil {
			return nil, 0, err
		}
		u := gone[account]
		gone[account] = usage{u.messages + 1, u.bytes + size}
		n++
	}
	return gone, n, rows.Err()
}

func (t store) remove(ctx context.Context, tx mod.Tx, account jid.JID) error {
	if _, err := tx.Exec(ctx, `DELETE FROM offline_message WHERE account = ?`, account.String()); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `DELETE FROM offline_usage WHERE account = ?`, account.String())
	return err
}
