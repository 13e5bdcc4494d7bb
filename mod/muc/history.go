package muc

import (
	"context"
	"strconv"
	"time"

	"sabir/engine/archive"
	"sabir/engine/room"
	"sabir/xmpp/payload/datetime"
	"sabir/xmpp/payload/delay"
	"sabir/xmpp/payload/sid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// past is a message of the history, as it is sent to who enters: with its id and the time at which it was said.
type past struct {
	s     *stanza.Stanza
	stamp time.Time
	id    string // in the archive, or ""
}

// historyRequest is what a client wants of the history (XEP-0045#enter-managehistory); -1 for no limit of its own.
type historyRequest struct {
	chars, stanzas int
	since          time.Time
	seconds        int
}

// readHistoryRequest reads the <history/> of who enters. Numbers that are none are ignored, so that a careless client gets in.
func readHistoryRequest(s *stanza.Stanza) (historyRequest, error) {
	r := historyRequest{chars: -1, stanzas: -1, seconds: -1}
	h := s.Child(nsMUC, "x").Child(nsMUC, "history")
	if h == nil {
		return r, nil
	}
	for _, a := range []struct {
		name string
		n    *int
	}{{"maxchars", &r.chars}, {"maxstanzas", &r.stanzas}, {"seconds", &r.seconds}} {
		v := h.Attr(a.name)
		if v == "" {
			continue
		}
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < 0 {
			return r, stanza.Errf(stanza.BadRequest, "%s is a number that is not negative", a.name)
		}
		*a.n = int(min(n, 1<<30))
	}
	if v := h.Attr("since"); v != "" {
		at, err := datetime.ParseLegacy(v)
		if err != nil {
			return r, stanza.Errf(stanza.BadRequest, "since: %v", err)
		}
		r.since = at
	}
	return r, nil
}

// sendHistory sends the most recent messages that the room and the client agree on, oldest first: the smallest amount
// that all limits allow (XEP-0045#enter-managehistory).
func (c *chat) sendHistory(t *turn, at *seat, ask historyRequest) {
	n := min(c.cfg.History, len(c.history))
	if ask.stanzas >= 0 {
		n = min(n, ask.stanzas)
	}
	since := ask.since
	if ask.seconds >= 0 {
		if s := c.m.h.Clock().Now().Add(-time.Duration(ask.seconds) * time.Second); s.After(since) {
			since = s
		}
	}
	first, chars := len(c.history), 0
	for first > len(c.history)-n {
		p := c.history[first-1]
		if p.stamp.Before(since) {
			break
		}
		chars += p.s.Wire().Size() + len(" to=''") + len(at.full.String())
		if ask.chars >= 0 && chars > ask.chars {
			break
		}
		first--
	}
	for _, p := range c.history[first:] {
		t.send(p.s, at.full)
	}
}

// remember adds a message that was just said to the history.
func (c *chat) remember(s *stanza.Stanza, at archive.Place) {
	if at.Stamp.IsZero() {
		at.Stamp = c.m.h.Clock().Now()
	}
	c.recall(s, at)
}

// recall adds a message to the history and lets go of the oldest.
func (c *chat) recall(s *stanza.Stanza, at archive.Place) {
	p := s.Clone()
	if _, ok := delay.Of(s, c.jid); !ok {
		p.Add(delay.Delay{From: c.jid, Stamp: at.Stamp}.Element()) // XEP-0045#enter-history
	}
	if over := len(c.history) - room.MaxHistory + 1; over > 0 {
		clear(c.history[:over])
		c.history = c.history[over:]
	}
	c.history = append(c.history, past{s: p, stamp: at.Stamp, id: at.ID})
}

// loadHistory reads the end of the archive: as much as the room sends, not more.
func (c *chat) loadHistory(ctx context.Context) error {
	c.history = nil
	if c.cfg.History == 0 || c.cfg.Unarchived {
		return nil
	}
	page, err := c.m.log.Page(ctx, c.archive, archive.Query{Last: true, Limit: c.cfg.History})
	if err != nil {
		return err
	}
	for _, i := range page.Items {
		if s := c.asTold(i); s != nil && !i.Tombstone && !isSubject(s) {
			c.recall(s, i.Place)
		}
	}
	return nil
}

// asTold is a message of the archive as all in the room were sent it, or nil where it cannot be read.
func (c *chat) asTold(i archive.Item) *stanza.Stanza {
	s, err := parse(i.Wire)
	if err != nil {
		c.m.h.Log().Error("a message in the archive cannot be read", "room", c.jid.String(), "id", i.ID, "error", err)
		return nil
	}
	s.Remove(func(n xmlstream.Name) bool { return n.Space == nsUser })
	return s.Add(sid.Element(c.jid, i.ID))
}
