package muc

import (
	"context"
	"crypto/rand"
	"strconv"
	"time"

	"sabir/engine/room"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// nsToken is the namespace of invitations by token (XEP-0488).
const nsToken = "urn:xmpp:muc-token-invite:0"

const (
	// maxTokens bounds the tokens of a room, tokenLife how long one holds at most, tokenUses how often.
	maxTokens = 100
	tokenLife = 30 * 24 * time.Hour
	tokenUses = 1000
)

// token is an invitation that who has it may use.
type token struct {
	text    string
	creator jid.JID
	uses    int // how often it may still be used
	until   time.Time
}

// element tells about a token: what is left of its limits (XEP-0488#listing).
func (k *token) element(now time.Time) *xmlstream.Element {
	left := max(0, int64((k.until.Sub(now)+time.Second-1)/time.Second))
	return xmlstream.El(nsToken, "token", xmlstream.A("counter", strconv.Itoa(k.uses)), xmlstream.A("delay", strconv.FormatInt(left, 10)), k.text)
}

// mayInvite tells whether somebody may issue tokens: members of the room that invite others, by its settings (XEP-0488#security).
func (c *chat) mayInvite(r *mod.Request) error {
	who := c.standing(r.From.Bare())
	switch {
	case !c.exists && !c.locked:
		return errNoRoom()
	case c.locked:
		return stanza.Err(stanza.NotAllowed, "configure the room first")
	case who.Affiliation >= room.Admin, c.cfg.Invites && who.Affiliation == room.Member:
		return nil
	}
	return stanza.Err(stanza.Forbidden, "you may not invite others to this room")
}

// limit reads one of the limits of a request: at most this, which it is where nothing is said.
func limit(x *xmlstream.Element, name string, most int) (int, error) {
	v := x.Attr(name)
	if v == "" {
		return most, nil
	}
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil || n == 0 {
		return 0, stanza.Errf(stanza.BadRequest, "%s is a number above 0", name)
	}
	return int(min(n, uint64(most))), nil
}

// tokenRequest issues a token (XEP-0488#generation).
func (c *chat) tokenRequest(t *turn, r *mod.Request) (*xmlstream.Element, error) {
	if err := c.mayInvite(r); err != nil {
		return nil, err
	}
	uses, err := limit(r.Payload, "counter", tokenUses)
	if err != nil {
		return nil, err
	}
	life, err := limit(r.Payload, "delay", int(tokenLife/time.Second))
	if err != nil {
		return nil, err
	}
	now := c.m.h.Clock().Now()
	all, err := c.m.store.tokens(t.ctx, c.jid, now)
	if err != nil {
		return nil, err
	}
	if len(all) >= maxTokens {
		return nil, stanza.Err(stanza.ResourceConstraint, "there are too many tokens of this room: revoke some")
	}
	k := token{rand.Text(), r.From.Bare().Clone(), uses, now.Add(time.Duration(life) * time.Second)}
	if err := t.write(func(tx mod.Tx) error { return c.m.store.addToken(t.ctx, tx, c.jid, &k, now) }); err != nil {
		return nil, err
	}
	return k.element(now), nil
}

// tokenList returns the tokens that somebody may revoke: the own, or for admins all (XEP-0488#listing).
func (c *chat) tokenList(t *turn, r *mod.Request) (*xmlstream.Element, error) {
	if err := c.mayInvite(r); err != nil {
		return nil, err
	}
	now := c.m.h.Clock().Now()
	all, err := c.m.store.tokens(t.ctx, c.jid, now)
	if err != nil {
		return nil, err
	}
	x := xmlstream.El(nsToken, "tokens")
	for i := range all {
		if c.mayRevoke(r.From.Bare(), &all[i]) {
			x.Add(all[i].element(now))
		}
	}
	return x, nil
}

func (c *chat) mayRevoke(who jid.JID, k *token) bool {
	return k.creator == who || c.affiliation(who) >= room.Admin
}

// tokenRevoke ends a token (XEP-0488#revoking).
func (c *chat) tokenRevoke(t *turn, r *mod.Request) (*xmlstream.Element, error) {
	if err := c.mayInvite(r); err != nil {
		return nil, err
	}
	all, err := c.m.store.tokens(t.ctx, c.jid, c.m.h.Clock().Now())
	if err != nil {
		return nil, err
	}
	for i := range all {
		if k := &all[i]; k.text == r.Payload.Text() && c.mayRevoke(r.From.Bare(), k) {
			return nil, t.write(func(tx mod.Tx) error { return c.m.store.removeToken(t.ctx, tx, c.jid, k.text) })
		}
	}
	return nil, stanza.Err(stanza.ItemNotFound, "there is no such token")
}

// admitted lets somebody use the token that came as the password: he or she is a member from then on (XEP-0488#using). It is false where
// there is none, or none that holds.
func (c *chat) admitted(t *turn, s *stanza.Stanza, user jid.JID) (bool, error) {
	text := s.Child(nsMUC, "x").ChildText(nsMUC, "password")
	if text == "" || !c.exists || c.affiliation(user) != room.None {
		return false, nil
	}
	all, err := c.m.store.tokens(t.ctx, c.jid, c.m.h.Clock().Now())
	if err != nil {
		return false, err
	}
	for i := range all {
		k := &all[i]
		if k.text != text {
			continue
		}
		now := move{user.Clone(), associate{affiliation: room.Member}}
		err := t.write(func(tx mod.Tx) error {
			if err := c.m.store.useToken(t.ctx, tx, c.jid, k.text); err != nil {
				return err
			}
			return c.writeMoves(t.ctx, tx, []move{now})
		})
		if err != nil {
			return false, err
		}
		c.tellLists(t, now, item{span: c.become(now.who, now.associate)})
		return true, nil
	}
	return false, nil
}

// tokens returns those that hold.
func (t store) tokens(ctx context.Context, r jid.JID, now time.Time) (all []token, err error) {
	err = t.each(ctx, func(scan func(...any) error) error {
		var k token
		var creator string
		var uses, until int64
		if err := scan(&k.text, &creator, &uses, &until); err != nil {
			return err
		}
		k.uses, k.until = int(uses), time.Unix(until, 0)
		j, err := jid.Parse(creator)
		k.creator = j
		all = append(all, k)
		return err
	}, `SELECT token, creator, uses, until FROM muc_token WHERE room = ? AND uses > 0 AND until > ? ORDER BY until, token`, r.String(), now.Unix())
	return all, err
}

// addToken adds one and deletes what does not hold any more.
func (t store) addToken(ctx context.Context, tx mod.Tx, r jid.JID, k *token, now time.Time) error {
	_, err := tx.Exec(ctx, `DELETE FROM muc_token WHERE room = ? AND (uses <= 0 OR until <= ?)`, r.String(), now.Unix())
	if err == nil {
		_, err = tx.Exec(ctx, `INSERT INTO muc_token (room, token, creator, uses, until) VALUES (?, ?, ?, ?, ?)`,
			r.String(), k.text, k.creator.String(), int64(k.uses), k.until.Unix())
	}
	return err
}

func (t store) useToken(ctx context.Context, tx mod.Tx, r jid.JID, text string) error {
	_, err := tx.Exec(ctx, `UPDATE muc_token SET uses = uses - 1 WHERE room = ? AND token = ?`, r.String(), text)
	return err
}

func (t store) removeToken(ctx context.Context, tx mod.Tx, r jid.JID, text string) error {
	_, err := tx.Exec(ctx, `DELETE FROM muc_token WHERE room = ? AND token = ?`, r.String(), text)
	return err
}
