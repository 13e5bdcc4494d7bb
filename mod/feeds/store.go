package feeds

import (
	"context"
	"errors"
	"time"

	"sabir/mod"
	"sabir/xmpp/jid"
)

// key names a subscription: who is told of what.
type key struct{ callback, topic string }

// subscription is one of the hub.
type subscription struct {
	key
	at      string // address and node that the topic shows
	node    string
	secret  string
	expires time.Time
	sent    string
}

// request asks for a subscription, or for the end of one.
type request struct {
	key
	mode   string
	secret string
	lease  time.Duration
}

// store keeps what the hub of a host knows.
type store struct {
	db   mod.DB
	host string
}

// request keeps a request in the place of one before.
func (s store) request(ctx context.Context, r request) error {
	return s.db.Write(ctx, func(tx mod.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO feeds_request (host, callback, topic, mode, secret, lease) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT (host, callback, topic) DO UPDATE SET mode = excluded.mode, secret = excluded.secret, lease = excluded.lease`,
			s.host, r.callback, r.topic, r.mode, r.secret, int64(r.lease/time.Second))
		return err
	})
}

// requested returns a request, or nil.
func (s store) requested(ctx context.Context, k key) (*request, error) {
	r := request{key: k}
	var lease int64
	err := s.db.QueryRow(ctx, `SELECT mode, secret, lease FROM feeds_request WHERE host = ? AND callback = ? AND topic = ?`, s.host, k.callback, k.topic).
		Scan(&r.mode, &r.secret, &lease)
	if errors.Is(err, mod.ErrNoRows) {
		return nil, nil
	}
	r.lease = time.Duration(lease) * time.Second
	return &r, err
}

// settle ends a request that is still the same: with a subscription, without one, or with none of both.
func (s store) settle(ctx context.Context, r *request, made *subscription) error {
	return s.db.Write(ctx, func(tx mod.Tx) error {
		d, err := tx.Exec(ctx, `DELETE FROM feeds_request WHERE host = ? AND callback = ? AND topic = ? AND mode = ? AND secret = ? AND lease = ?`,
			s.host, r.callback, r.topic, r.mode, r.secret, int64(r.lease/time.Second))
		if err != nil {
			return err
		}
		if n, err := d.RowsAffected(); err != nil || n == 0 {
			return err // another one came meanwhile
		}
		switch {
		case made != nil:
			_, err = tx.Exec(ctx, `INSERT INTO feeds_subscription (host, callback, topic, at, node, secret, expires, sent) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
				ON CONFLICT (host, callback, topic) DO UPDATE SET secret = excluded.secret, expires = excluded.expires`,
				s.host, r.callback, r.topic, made.at, made.node, made.secret, made.expires.UnixMicro(), made.sent)
		case r.mode == modeUnsubscribe:
			err = s.remove(ctx, tx, r.key)
		}
		return err
	})
}

// drop gives a request up.
func (s store) drop(ctx context.Context, r *request) error {
	return s.db.Write(ctx, func(tx mod.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM feeds_request WHERE host = ? AND callback = ? AND topic = ? AND mode = ? AND secret = ? AND lease = ?`,
			s.host, r.callback, r.topic, r.mode, r.secret, int64(r.lease/time.Second))
		return err
	})
}

func (s store) remove(ctx context.Context, tx mod.Tx, k key) error {
	_, err := tx.Exec(ctx, `DELETE FROM feeds_subscription WHERE host = ? AND callback = ? AND topic = ?`, s.host, k.callback, k.topic)
	return err
}

// forget ends the subscriptions to the nodes of an account, in the transaction that deletes it.
func (s store) forget(ctx context.Context, tx mod.Tx, account jid.JID) error {
	_, err := tx.Exec(ctx, `DELETE FROM feeds_subscription WHERE host = ? AND at = ?`, s.host, account.String())
	return err
}

// end ends a subscription.
func (s store) end(ctx context.Context, k key) error {
	return s.db.Write(ctx, func(tx mod.Tx) error { return s.remove(ctx, tx, k) })
}

// delivered notes what a subscriber has been sent.
func (s store) delivered(ctx context.Context, k key, sent string) error {
	return s.db.Write(ctx, func(tx mod.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE feeds_subscription SET sent = ? WHERE host = ? AND callback = ? AND topic = ?`, sent, s.host, k.callback, k.topic)
		return err
	})
}

// expire deletes the subscriptions whose lease is over.
func (s store) expire(ctx context.Context, now time.Time) error {
	return s.db.Write(ctx, func(tx mod.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM feeds_subscription WHERE host = ? AND expires <= ?`, s.host, now.UnixMicro())
		return err
	})
}

// subscription returns one whose lease is not over, or nil.
func (s store) subscription(ctx context.Context, k key, now time.Time) (*subscription, error) {
	x := subscription{key: k}
	var expires int64
	err := s.db.QueryRow(ctx, `SELECT at, node, secret, expires, sent FROM feeds_subscription WHERE host = ? AND callback = ? AND topic = ? AND expires > ?`,
		s.host, k.callback, k.topic, now.UnixMicro()).Scan(&x.at, &x.node, &x.secret, &expires, &x.sent)
	if errors.Is(err, mod.ErrNoRows) {
		return nil, nil
	}
	x.expires = time.UnixMicro(expires).UTC()
	return &x, err
}

// followers returns the subscriptions to a node.
func (s store) followers(ctx context.Context, at jid.JID, node string) ([]key, error) {
	return s.keys(ctx, `SELECT callback, topic FROM feeds_subscription WHERE host = ? AND at = ? AND node = ?`, s.host, at.String(), node)
}

// all returns all subscriptions, and pending all requests.
func (s store) all(ctx context.Context) ([]key, error) {
	return s.keys(ctx, `SELECT callback, topic FROM feeds_subscription WHERE host = ?`, s.host)
}

func (s store) pending(ctx context.Context) ([]key, error) {
	return s.keys(ctx, `SELECT callback, topic FROM feeds_request WHERE host = ?`, s.host)
}

func (s store) keys(ctx context.Context, query string, args ...any) (list []key, err error) {
	rows, err := s.db.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var k key
		if err := rows.Scan(&k.callback, &k.topic); err != nil {
			return nil, err
		}
		list = append(list, k)
	}
	return list, rows.Err()
}

// counts returns how many subscriptions a host and a topic have, with those that are asked for.
func (s store) counts(ctx context.Context, topic string) (host, of int, err error) {
	err = s.db.QueryRow(ctx, `SELECT (SELECT COUNT(*) FROM feeds_subscription WHERE host = ?) + (SELECT COUNT(*) FROM feeds_request WHERE host = ?),
		(SELECT COUNT(*) FROM feeds_subscription WHERE host = ? AND topic = ?) + (SELECT COUNT(*) FROM feeds_request WHERE host = ? AND topic = ?)`,
		s.host, s.host, s.host, topic, s.host, topic).Scan(&host, &of)
	return host, of, err
}
