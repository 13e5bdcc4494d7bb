package pam

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"

	"sabir/engine/pubsub"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/xmlstream"
)

// subscription is one of an account.
type subscription struct {
	service, node, subid string
	state                pubsub.State
	public               bool
}

// element returns it as a service writes it.
func (x *subscription) element(account jid.JID, ns string) *xmlstream.Element {
	e := xmlstream.El(ns, "subscription", xmlstream.A("node", x.node), xmlstream.A("jid", account.String()), xmlstream.A("subscription", string(x.state)))
	if x.subid != "" {
		e.Add(xmlstream.A("subid", x.subid))
	}
	return e
}

// id names it among those of its account, for the item that lists it. Each public subscription has one, those of one node that SubIDs
// tell apart included (XEP-0465#retrieving_subs).
func (x *subscription) id() string {
	name := x.service + "\x00" + x.node
	if x.subid != "" {
		name += "\x00" + x.subid
	}
	h := sha256.Sum256([]byte(name))
	return hex.EncodeToString(h[:16])
}

// item is the change of the node of public subscriptions that says what was and is to be known of a subscription
// (XEP-0465#retrieving_subs).
// COMPAT: Libervia 0.9 (2026-11) reads the attribute service, and XEP-0465 writes jid.
func (x *subscription) item() mod.NodeChange {
	c := mod.NodeChange{Node: pubsub.NSFollowing, ID: x.id(), Many: true}
	if x.public && x.state == pubsub.Subscribed {
		c.Payload = xmlstream.El(pubsub.NSPublic, "subscription", xmlstream.A("node", x.node), xmlstream.A("jid", x.service), xmlstream.A("service", x.service))
	}
	return c
}

// version names a list of subscriptions (XEP-0376#sublist).
func version(list []subscription) string {
	h := sha256.New()
	for _, x := range list {
		for _, s := range []string{x.service, x.node, x.subid, string(x.state)} {
			h.Write([]byte(s))
			h.Write([]byte{0})
		}
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:12])
}

type store struct{ db mod.DB }

const fields = `service, node, subid, state, public`

// list returns the subscriptions of an account.
func (s store) list(ctx context.Context, account jid.JID) ([]subscription, error) {
	return collect(s.db.Query(ctx, `SELECT `+fields+` FROM pam_subscription WHERE account = ? ORDER BY service, node, subid`, account.String()))
}

// meant returns those that are meant by a SubID, or without one by their node: whoever has a single one may leave it out, and a node
// ends for all (XEP-0060#subscriber-unsubscribe-error-nosubid).
func (s store) meant(ctx context.Context, account jid.JID, service, node, subid string) ([]subscription, error) {
	return collect(s.db.Query(ctx, `SELECT `+fields+` FROM pam_subscription WHERE account = ? AND service = ? AND node = ? AND (? = '' OR subid = ?)`,
		account.String(), service, node, subid, subid))
}

func collect(rows mod.Rows, failed error) (list []subscription, err error) {
	if failed != nil {
		return nil, failed
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var x subscription
		if err := rows.Scan(&x.service, &x.node, &x.subid, &x.state, &x.public); err != nil {
			return nil, err
		}
		list = append(list, x)
	}
	return list, rows.Err()
}

// find returns a subscription of an account; ok is false where there is none.
func (s store) find(ctx context.Context, account jid.JID, service, node, subid string) (x subscription, ok bool, err error) {
	x = subscription{service: service, node: node, subid: subid}
	err = s.db.QueryRow(ctx, `SELECT state, public FROM pam_subscription WHERE account = ? AND service = ? AND node = ? AND subid = ?`,
		account.String(), service, node, subid).Scan(&x.state, &x.public)
	if errors.Is(err, mod.ErrNoRows) {
		return x, false, nil
	}
	return x, err == nil, err
}

// put stores a subscription, or deletes it where its state is none.
func (s store) put(ctx context.Context, tx mod.Tx, account jid.JID, x subscription) error {
	if x.state == pubsub.NotSub {
		_, err := tx.Exec(ctx, `DELETE FROM pam_subscription WHERE account = ? AND service = ? AND node = ? AND subid = ?`,
			account.String(), x.service, x.node, x.subid)
		return err
	}
	_, err := tx.Exec(ctx, `INSERT INTO pam_subscription (account, service, node, subid, state, public) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (account, service, node, subid) DO UPDATE SET state = excluded.state, public = excluded.public`,
		account.String(), x.service, x.node, x.subid, string(x.state), x.public)
	return err
}

func (s store) deleteAll(ctx context.Context, tx mod.Tx, account jid.JID) error {
	_, err := tx.Exec(ctx, `DELETE FROM pam_subscription WHERE account = ?`, account.String())
	return err
}
