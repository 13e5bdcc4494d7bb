package push

import (
	"context"
	"errors"
	"sync/atomic"

	"sabir/mod"
	"sabir/xmpp/jid"
)

// The kinds of services.
const (
	kindXMPP = "xmpp"
	kindWeb  = "web"
)

// key names a service of an account.
type key struct {
	account       jid.JID
	kind          string
	service, node string
}

// service is a row. It is immutable, but for unread.
type service struct {
	key
	resource string
	secret   string
	waiting  int // since its client was there
	told     int // of these
	// failed says why it was given up, or is "".
	failed string
	// unread says that messages may have come since its client was there.
	unread atomic.Bool
}

// store is the table push_service, the part of one host.
type store struct {
	db   mod.DB
	host string
}

// services returns those of an account, oldest first.
func (t store) services(ctx context.Context, account jid.JID) (list []*service, err error) {
	rows, err := t.db.Query(ctx, `SELECT kind, service, node, resource, secret, waiting, failed FROM push_service
		WHERE account = ? ORDER BY enabled`, account.String())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		s := &service{key: key{account: account}}
		if err := rows.Scan(&s.kind, &s.service, &s.node, &s.resource, &s.secret, &s.waiting, &s.failed); err != nil {
			return nil, err
		}
		s.unread.Store(s.waiting > 0)
		list = append(list, s)
	}
	return list, rows.Err()
}

// put enables a service, or renews it, and tells how many the account has then.
func (t store) put(ctx context.Context, tx mod.Tx, s *service, now int64) (n int, err error) {
	// A service that was given up makes room for one that is used.
	_, err = tx.Exec(ctx, `DELETE FROM push_service WHERE account = ? AND failed <> ''`, s.account.String())
	if err != nil {
		return 0, err
	}
	_, err = tx.Exec(ctx, `INSERT INTO push_service (host, account, kind, service, node, resource, secret, enabled, waiting, told, failed)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, 0, '')
		ON CONFLICT (account, kind, service, node) DO UPDATE SET
		resource = excluded.resource, secret = excluded.secret, enabled = excluded.enabled, waiting = 0, told = 0, failed = ''`,
		t.host, s.account.String(), s.kind, s.service, s.node, s.resource, s.secret, now)
	if err != nil {
		return 0, err
	}
	return n, tx.QueryRow(ctx, `SELECT count(*) FROM push_service WHERE account = ?`, s.account.String()).Scan(&n)
}

// remove disables one service.
func (t store) remove(ctx context.Context, tx mod.Tx, k key) error {
	_, err := tx.Exec(ctx, `DELETE FROM push_service WHERE account = ? AND kind = ? AND service = ? AND node = ?`,
		k.account.String(), k.kind, k.service, k.node)
	return err
}

// removeAll disables all nodes of an app server.
func (t store) removeAll(ctx context.Context, tx mod.Tx, account jid.JID, service string) error {
	_, err := tx.Exec(ctx, `DELETE FROM push_service WHERE account = ? AND kind = ? AND service = ?`, account.String(), kindXMPP, service)
	return err
}

// countOne and countSome add a message to what waits for one service, or for eight.
const (
	countOne  = `UPDATE push_service SET waiting = waiting + 1 WHERE account = ? AND kind = ? AND service = ? AND node = ?`
	countSome = `UPDATE push_service SET waiting = waiting + 1 WHERE (account, kind, service, node) IN (VALUES
		(?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?), (?, ?, ?, ?))`
)

// count adds a message to what waits for services.
func (t store) count(ctx context.Context, tx mod.Tx, list []*service) error {
	var args []any
	for len(list) > 0 {
		query, n := countOne, 1
		if len(list) >= 8 {
			query, n = countSome, 8
		}
		args = args[:0]
		for _, s := range list[:n] {
			args = append(args, s.account.String(), s.kind, s.service, s.node)
		}
		if _, err := tx.Exec(ctx, query, args...); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}

// raise makes what waits at least n messages, and tells whether the service was not told of all.
func (t store) raise(ctx context.Context, tx mod.Tx, k key, n int) (owed bool, err error) {
	_, err = tx.Exec(ctx, `UPDATE push_service SET waiting = ? WHERE account = ? AND kind = ? AND service = ? AND node = ? AND waiting < ?`,
		n, k.account.String(), k.kind, k.service, k.node, n)
	if err != nil {
		return false, err
	}
	var waiting, told int
	err = tx.QueryRow(ctx, `SELECT waiting, told FROM push_service WHERE account = ? AND kind = ? AND service = ? AND node = ?`,
		k.account.String(), k.kind, k.service, k.node).Scan(&waiting, &told)
	if errors.Is(err, mod.ErrNoRows) {
		return false, nil
	}
	return waiting > told, err
}

// seen forgets what waits: the client is there.
func (t store) seen(ctx context.Context, tx mod.Tx, k key) error {
	_, err := tx.Exec(ctx, `UPDATE push_service SET waiting = 0, told = 0 WHERE account = ? AND kind = ? AND service = ? AND node = ?`,
		k.account.String(), k.kind, k.service, k.node)
	return err
}

// told notes how many messages the service has acknowledged.
func (t store) told(ctx context.Context, tx mod.Tx, k key, n int) error {
	_, err := tx.Exec(ctx, `UPDATE push_service SET told = CASE WHEN waiting < ? THEN waiting ELSE ? END
		WHERE account = ? AND kind = ? AND service = ? AND node = ?`, n, n, k.account.String(), k.kind, k.service, k.node)
	return err
}

// fail gives a service up.
func (t store) fail(ctx context.Context, tx mod.Tx, k key, why string) error {
	_, err := tx.Exec(ctx, `UPDATE push_service SET failed = ? WHERE account = ? AND kind = ? AND service = ? AND node = ?`,
		why, k.account.String(), k.kind, k.service, k.node)
	return err
}

// get returns a service, or nil where it is not enabled.
func (t store) get(ctx context.Context, k key) (*service, error) {
	s := &service{key: k}
	err := t.db.QueryRow(ctx, `SELECT resource, secret, waiting, told, failed FROM push_service
		WHERE account = ? AND kind = ? AND service = ? AND node = ?`, k.account.String(), k.kind, k.service, k.node).
		Scan(&s.resource, &s.secret, &s.waiting, &s.told, &s.failed)
	if errors.Is(err, mod.ErrNoRows) || err == nil && s.failed != "" {
		return nil, nil
	}
	return s, err
}

// due returns services that have messages of which they were not told.
func (t store) due(ctx context.Context, limit int) (list []key, err error) {
	rows, err := t.db.Query(ctx, `SELECT account, kind, service, node FROM push_service
		WHERE host = ? AND waiting > told AND failed = '' LIMIT ?`, t.host, limit)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var k key
		var account string
		if err := rows.Scan(&account, &k.kind, &k.service, &k.node); err != nil {
			return nil, err
		}
		if k.account, err = jid.Parse(account); err != nil {
			return nil, err
		}
		list = append(list, k)
	}
	return list, rows.Err()
}

// removeAccount forgets an account.
func (t store) removeAccount(ctx context.Context, tx mod.Tx, account jid.JID) error {
	_, err := tx.Exec(ctx, `DELETE FROM push_service WHERE account = ?`, account.String())
	return err
}
