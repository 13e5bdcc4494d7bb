package muc

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sabir/engine/room"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// nsVersions is the namespace of versions of affiliations (XEP-0463).
const nsVersions = "urn:xmpp:muc:affiliations:1"

const (
	// knownVersions is how many changes back a room still knows what has changed.
	knownVersions = 1000
	// forgetEvery is after how many changes those are deleted of whom nobody has to be told any more.
	forgetEvery = 100
	// changesAtOnce bounds the affiliations of one message.
	changesAtOnce = 200
)

// versions counts the changes of a room's affiliations.
type versions struct {
	now   int64
	floor int64 // before it nothing is known
}

// oldest is the first version since which a change can be told.
func (v versions) oldest() int64 { return max(v.floor, v.now-knownVersions) }

// span says from which version of the affiliations to which a stanza leads; each may be "".
type span struct{ since, until string }

func (s span) element() *xmlstream.Element {
	x := xmlstream.El(nsVersions, "mav")
	if s.since != "" {
		x.Add(xmlstream.A("since", s.since))
	}
	if s.until != "" {
		x.Add(xmlstream.A("until", s.until))
	}
	return x
}

// versionText names a version to clients. They cannot make one up, nor use that of another room, or of one that had the name before: what they
// have got they may be told the changes of (XEP-0463#security).
func (c *chat) versionText(n int64) string {
	number := strconv.FormatInt(n, 36)
	mac := hmac.New(sha256.New, c.m.secret)
	fmt.Fprintf(mac, "affiliations\x00%s\x00%d\x00%s", c.jid, c.created.UnixMicro(), number)
	return number + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:12])
}

// versionOf is the version of a text, if the room knows what has changed since.
func (c *chat) versionOf(text string) (int64, bool) {
	number, _, _ := strings.Cut(text, ".")
	n, err := strconv.ParseInt(number, 36, 64)
	ok := err == nil && n >= c.versions.oldest() && n <= c.versions.now && hmac.Equal([]byte(text), []byte(c.versionText(n)))
	return n, ok
}

// mayFollow tells whether somebody may know all who belong to the room, and is told of each change: who reads their lists and
// sees addresses (XEP-0463#errors). Outcasts are shown to those who may read theirs.
func (c *chat) mayFollow(who room.Standing) bool {
	for _, a := range []room.Affiliation{room.Member, room.Admin, room.Owner} {
		if !c.mayList(who, a) {
			return false
		}
	}
	return c.cfg.Shows(who.Role)
}

// sendAffiliations tells a client that enters by s what has changed in the affiliations since the version that it knows, or all
// of them, if it asks (XEP-0463#request). It comes before any presence (XEP-0463#self).
func (c *chat) sendAffiliations(t *turn, at *seat, s *stanza.Stanza) {
	ask := s.Child(nsMUC, "x").Child(nsVersions, "mav")
	if at.follows = ask != nil; !at.follows {
		return
	}
	since := ask.Attr("since")
	if !c.mayFollow(at.Standing) {
		m := stanza.New(stanza.Message, stanza.TypeError, stanza.Err(stanza.Forbidden, "you may not read the lists of this room").Element())
		m.ID, m.From, m.To = s.ID, c.jid, at.full
		t.send(m)
		return
	}
	var items []item
	n, known := c.versionOf(since)
	if known && n == c.versions.now {
		return
	}
	if known {
		var err error
		if items, err = c.changesSince(t.ctx, at.Standing, n); err != nil {
			c.m.h.Log().Error("changes of affiliations not read", "room", c.jid.String(), "error", err)
		}
	}
	if len(items) == 0 { // nothing is known, or nothing that this one may see: there is no empty difference
		since, items = "", c.allAffiliations(at.Standing)
	}
	c.sendItems(t, at, since, items)
}

// sendItems splits a list into messages. The versions between them are of no use later: who has lost the rest begins anew.
func (c *chat) sendItems(t *turn, at *seat, since string, items []item) {
	until := c.versionText(c.versions.now)
	for part := 1; ; part++ {
		s := span{since, until}
		n := min(len(items), changesAtOnce)
		if n < len(items) {
			s.until = until + "." + strconv.Itoa(part)
		}
		x := xmlstream.El(nsUser, "x", s.element())
		for _, i := range items[:n] {
			x.Add(i.element(nsUser))
		}
		m := stanza.New(stanza.Message, stanza.TypeNormal, x)
		m.ID, m.From, m.To = stanza.NewID(), c.jid, at.full
		t.send(m)
		if items = items[n:]; len(items) == 0 {
			return
		}
		since = s.until
	}
}

// seenAs is an affiliation as somebody may see it: outcasts are nobody for those who may not read their list.
func (c *chat) seenAs(a room.Affiliation, by room.Standing) room.Affiliation {
	if a == room.Outcast && !c.mayList(by, a) {
		return room.None
	}
	return a
}

func (c *chat) allAffiliations(by room.Standing) (all []item) {
	for who, a := range c.associates {
		if now := c.seenAs(a.affiliation, by); now != room.None {
			all = append(all, item{affiliation: now, noRole: true, jid: who})
		}
	}
	slices.SortFunc(all, func(a, b item) int { return jid.JID.Compare(a.jid, b.jid) })
	return all
}

// changesSince reads what has changed since a version. Of those who came and went in between nothing is told.
func (c *chat) changesSince(ctx context.Context, by room.Standing, since int64) (all []item, err error) {
	err = c.m.store.each(ctx, func(scan func(...any) error) error {
		var who string
		var affiliation, born int64
		if err := scan(&who, &affiliation, &born); err != nil {
			return err
		}
		j, err := jid.Parse(who)
		if err != nil {
			return fmt.Errorf("affiliation with %s: %w", c.jid, err)
		}
		now := c.seenAs(room.Affiliation(affiliation), by)
		if now == room.None && born > since {
			return nil
		}
		all = append(all, item{affiliation: now, noRole: true, jid: j})
		return nil
	}, `SELECT jid, affiliation, born FROM muc_affiliation WHERE room = ? AND version > ? ORDER BY version, jid`, c.jid.String(), since)
	return all, err
}

// move is a change of what somebody is to the room.
type move struct {
	who jid.JID
	associate
}

// writeMoves puts changes into the tables. Each that changes a list has the version after the one before.
func (c *chat) writeMoves(ctx context.Context, tx mod.Tx, moves []move) error {
	next := c.versions
	now := make(map[jid.JID]room.Affiliation)
	for _, k := range moves {
		was, ok := now[k.who]
		if !ok {
			was = c.associates[k.who].affiliation
		}
		if was == room.None && k.affiliation == room.None {
			continue
		}
		if now[k.who] = k.affiliation; was != k.affiliation {
			next.now++
		}
		if err := c.m.store.affiliate(ctx, tx, c.jid, k.who, k.associate, next.now); err != nil {
			return err
		}
	}
	if next == c.versions {
		return nil
	}
	if err := c.m.store.setVersions(ctx, tx, c.jid, next); err != nil || next.now/forgetEvery == c.versions.now/forgetEvery {
		return err
	}
	return c.m.store.forgetMoves(ctx, tx, c.jid, next.oldest())
}

// become changes what somebody is in memory, and returns the versions before and after where that changes a list.
func (c *chat) become(who jid.JID, a associate) span {
	was := c.associates[who].affiliation
	if a.affiliation == room.None {
		delete(c.associates, who)
	} else {
		c.associates[who.Clone()] = a
	}
	if was == a.affiliation {
		return span{}
	}
	c.versions.now++
	return span{c.versionText(c.versions.now - 1), c.versionText(c.versions.now)}
}

// setVersions stores the versions.
func (t store) setVersions(ctx context.Context, tx mod.Tx, r jid.JID, v versions) error {
	_, err := tx.Exec(ctx, `UPDATE muc_room SET affiliation_version = ?, affiliation_floor = ? WHERE room = ?`, v.now, v.floor, r.String())
	return err
}

// forgetMoves forgets those who have been nothing since a version or longer.
func (t store) forgetMoves(ctx context.Context, tx mod.Tx, r jid.JID, oldest int64) error {
	_, err := tx.Exec(ctx, `DELETE FROM muc_affiliation WHERE room = ? AND affiliation = ? AND version <= ?`, r.String(), int64(room.None), oldest)
	return err
}

// remembering returns the rooms that know somebody, who may be nothing to them by now.
func (t store) remembering(ctx context.Context, account jid.JID) (rooms map[jid.JID]bool, err error) {
	rooms = make(map[jid.JID]bool)
	err = t.each(ctx, func(scan func(...any) error) error {
		var r string
		if err := scan(&r); err != nil {
			return err
		}
		j, err := jid.Parse(r)
		rooms[j] = true
		return err
	}, `SELECT room FROM muc_affiliation WHERE jid = ?`, account.String())
	return rooms, err
}

// forgetVersions begins anew in the rooms on whose lists somebody is who is about to be removed from all tables.
func (t store) forgetVersions(ctx context.Context, tx mod.Tx, account jid.JID) error {
	_, err := tx.Exec(ctx, `UPDATE muc_room SET affiliation_version = affiliation_version + 1, affiliation_floor = affiliation_version + 1
		WHERE room IN (SELECT room FROM muc_affiliation WHERE jid = ?)`, account.String())
	return err
}
