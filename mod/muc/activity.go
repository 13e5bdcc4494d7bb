package muc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// nsCorrect is the namespace of corrections, which say nothing new (XEP-0308).
const nsCorrect = "urn:xmpp:message-correct:0"

// activity counts messages by the hour (XEP-0502#impl): the hour that is not over, and the 24 before.
type activity struct {
	hour  int64 // since 1970, that of counts[0]
	count [25]int
	kept  time.Time // when it was stored last
}

// move makes now's hour the first.
func (a *activity) move(now time.Time) {
	hour := now.Unix() / 3600
	by := hour - a.hour
	if by <= 0 {
		return
	}
	for i := len(a.count) - 1; i >= 0; i-- {
		a.count[i] = 0
		if j := int64(i) - by; j >= 0 {
			a.count[i] = a.count[j]
		}
	}
	a.hour = hour
}

// rate returns the messages of an hour, over the last day.
func (a *activity) rate(now time.Time) float64 {
	a.move(now)
	sum := 0
	for _, n := range a.count[1:] {
		sum += n
	}
	return float64(sum) / float64(len(a.count)-1)
}

// activityEvery is how often the count of a busy room is stored.
const activityEvery = time.Minute

// counted notes a message that was said (XEP-0502#rules).
func (c *chat) counted(s *stanza.Stanza) {
	if !c.exists || !s.Has(stanza.NSClient, "body") || s.Has(nsCorrect, "replace") {
		return
	}
	now := c.m.h.Clock().Now()
	c.activity.move(now)
	c.activity.count[0]++
	if now.Sub(c.activity.kept) >= activityEvery {
		c.keepActivity(now)
	}
}

// keepActivity has the count stored, a little later.
func (c *chat) keepActivity(now time.Time) {
	c.activity.kept = now
	a, store, r := c.activity, c.m.store, c.jid
	c.m.later.Put("activity "+c.jid.String(), func(tx mod.Tx) error { return store.setActivity(context.Background(), tx, r, &a) })
}

// messagesPerHour is the value of the field, or "" where it is not told: of rooms that not everybody finds and enters
// (XEP-0502#privacy).
func (c *chat) messagesPerHour() string {
	if !c.exists || !c.cfg.Persistent || c.cfg.Hidden || c.cfg.MembersOnly || c.cfg.Protected {
		return ""
	}
	return strconv.FormatFloat(c.activity.rate(c.m.h.Clock().Now()), 'f', 2, 64)
}

func (t store) setActivity(ctx context.Context, tx mod.Tx, r jid.JID, a *activity) error {
	text, err := json.Marshal(a.count)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO muc_activity (room, hour, counts) SELECT ?, ?, ? FROM muc_room WHERE room = ?
		ON CONFLICT (room) DO UPDATE SET hour = excluded.hour, counts = excluded.counts`, r.String(), a.hour, string(text), r.String())
	return err
}

func (t store) activity(ctx context.Context, r jid.JID) (a activity, err error) {
	var text string
	err = t.db.QueryRow(ctx, `SELECT hour, counts FROM muc_activity WHERE room = ?`, r.String()).Scan(&a.hour, &text)
	if errors.Is(err, mod.ErrNoRows) {
		return a, nil
	}
	if err == nil {
		err = json.Unmarshal([]byte(text), &a.count)
	}
	if err != nil {
		return a, fmt.Errorf("activity of %s: %w", r, err)
	}
	return a, nil
}
