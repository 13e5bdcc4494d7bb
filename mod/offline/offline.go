package offline

import (
	"context"
	"embed"
	"fmt"
	"math"
	"strconv"
	"time"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/delay"
	"sabir/xmpp/payload/sid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

//go:embed schema
var schema embed.FS

// Info describes the extension.
var Info = mod.Info{
	Name:   "offline",
	Specs:  []string{"XEP-0160 1.0.1", "XEP-0203 2.0", "XEP-0334 1.0.0", "RFC 6121 §8.5.2.2"},
	Doc:    "Keeps messages for users who are offline and delivers them when they return.",
	Config: func() any { return &Config{Messages: 5000, Bytes: 8 << 20, Keep: mod.Duration(90 * 24 * time.Hour)} },
	Schema: schema,
	New:    newOffline,
}

// Config is the section [mod.offline].
type Config struct {
	Messages int          `toml:"messages" doc:"Messages kept for one account; further ones are refused."`
	Bytes    int          `toml:"bytes" doc:"Bytes of messages kept for one account; further ones are refused."`
	Keep     mod.Duration `toml:"keep" doc:"How long a message is kept; 0s for ever."`
}

// Validate checks that the limits are positive.
func (c *Config) Validate() error {
	if c.Messages < 1 || c.Bytes < 1 || c.Keep < 0 {
		return fmt.Errorf("messages and bytes are at least 1, and keep is not negative")
	}
	return nil
}

// caughtUp is the flag of a session to which everything was delivered since it became available with a non-negative
// priority.
const caughtUp = "offline.caughtup"

// skip is the flag of a session whose client reads the archive: up to this message it gets only what is not archived.
const skip = "offline.skip"

const (
	// pageBytes bounds what a session gets at once, and pageShare which part of the room that it has left, of which each message
	// takes at least messageRoom.
	pageBytes   = 256 << 10
	pageShare   = 2
	messageRoom = 1 << 10
	// sweep is how often messages are looked for that are too old.
	sweep = time.Hour
)

type offline struct {
	h     mod.Host
	c     *Config
	store store
	turns turns

	promised promised
}

func newOffline(h mod.Host, cfg any) (*mod.Hooks, error) {
	o := &offline{h: h, c: cfg.(*Config), store: store{h.DB()}}
	return &mod.Hooks{
		Rewrite: []mod.RewriteHook{{When: mod.When{Side: mod.In, Kinds: mod.Messages | mod.Presences}, Func: o.stripDelay}},
		Record:  []mod.RecordHook{{When: mod.When{Side: mod.In, Kinds: mod.Messages, After: []string{"mam"}}, Func: o.record}},
		Observe: []mod.ObserveHook{{When: mod.When{Side: mod.In, Kinds: mod.Messages}, Func: o.observe}},

		Features:  []mod.Feature{{At: mod.AtHost, Var: "msgoffline"}}, // XEP-0160#disco
		Offline:   o,
		Available: o.available,
		AccountRemoved: func(ctx context.Context, tx mod.Tx, account jid.JID) error {
			return o.store.remove(ctx, tx, account)
		},
		Trace: o.trace,
		Start: func(context.Context) error { h.Go("expire", o.expireLoop); return nil },
	}, nil
}

// stripDelay removes notations of delay that somebody else made in the name of this host or of the recipient's account
// (XEP-0203#security).
func (o *offline) stripDelay(_ context.Context, p *mod.Pass) error {
	s := p.Stanza
	if !s.Has(delay.NS, "delay") || s.From == o.h.Domain() || s.From == p.Account {
		return nil
	}
	s = s.Clone()
	if s.RemoveFunc(func(x *xmlstream.Element) bool {
		return delay.Claims(x, o.h.Domain()) || delay.Claims(x, p.Account)
	}) > 0 {
		p.Stanza = s
	}
	return nil
}

// record stores a message that no session gets. One that is in the archive of the account, too, is stored with the id that
// it has there, so that a client which reads the archive knows it again.
func (o *offline) record(ctx context.Context, p *mod.Pass) (func(mod.Tx) error, error) {
	archived := p.Archived
	if len(p.Targets) > 0 || p.Stored && archived == nil || !storable(p.Stanza) {
		return nil, nil
	}
	messages, bytes, err := o.store.usage(ctx, p.Account)
	if err != nil {
		return nil, err
	}
	now := o.h.Clock().Now()
	s, sent := p.Stanza, p.At
	if sent.IsZero() {
		sent = now
	}
	if d, ok := delay.Of(s, o.h.Domain()); ok && d.Stamp.Before(sent.Truncate(time.Millisecond)) { // it was stored before
		sent = d.Stamp
	}
	if _, ok := delay.Of(s, jid.JID{}); !ok { // XEP-0203#protocol: one and only one
		s = s.Clone().Add(delay.Delay{From: o.h.Domain(), Stamp: sent, Reason: "Offline Storage"}.Element())
	}
	if !o.promised.add(p.Account, s.Wire().Size()+overhead, now, o.c.Messages-messages, o.c.Bytes-bytes) {
		if archived != nil && archived.ID != "" {
			return nil, nil // it was archived before, and comes back from a session that has ended: it is not lost
		}
		// The archive of the account, which has no such bound, does not get it either: the sender is told, and nothing is lost
		// in silence to a client that does not read archives.
		return nil, stanza.Err(stanza.ServiceUnavailable, "the recipient is offline and has no room for more messages") // XEP-0160#flow
	}
	p.Stored = true
	account := p.Account
	return func(tx mod.Tx) error {
		m := s
		if archived != nil && archived.ID != "" && !s.Has(sid.NS, "stanza-id") {
			m = s.Clone().Add(sid.Element(archived.By, archived.ID))
		}
		return o.store.add(ctx, tx, account, sent, o.expires(now), archived != nil, string(m.Append(nil, stanza.NSClient)))
	}, nil
}

// overhead is what a message may grow by once it is known where the archive keeps it.
const overhead = 256

// Mark returns a place behind all that waits for an account now.
func (o *offline) Mark(ctx context.Context, account jid.JID) (int64, error) {
	return o.store.last(ctx, account)
}

// Skip keeps with the session up to where it has got from the archive what waits for it. mark is 0 where nothing waited.
func (o *offline) Skip(s mod.Session, mark int64) {
	if mark > 0 {
		s.SetFlag(skip, strconv.FormatInt(mark, 10))
	}
}

// observe delivers at once a message whose recipient became available while it was being stored.
func (o *offline) observe(ctx context.Context, p *mod.Pass, out mod.Outcome) {
	if out != mod.Stored {
		return
	}
	o.promised.kept(p.Account, o.h.Clock().Now())
	for _, s := range o.h.Sessions(p.Account) {
		if s.Presence() != nil && s.Priority() >= 0 {
			o.deliver(ctx, s)
			return
		}
	}
}

// available delivers when a session becomes available with a non-negative priority, or raises it there (XEP-0160#flow).
func (o *offline) available(ctx context.Context, s mod.Session, initial bool) {
	if s.Priority() < 0 {
		s.SetFlag(caughtUp, "")
		return
	}
	if initial || s.Flag(caughtUp) == "" {
		s.SetFlag(caughtUp, "1")
		o.deliver(ctx, s)
	}
}

// deliver hands the first page of stored messages to a session. Where there are more, it asks the client for a sign of
// life before the next, so that the client's speed decides and not ours. Who does not answer waits for the timeout. New
// messages wait until all pages were handed over.
func (o *offline) deliver(ctx context.Context, s mod.Session) {
	done, more := s.CatchUp(), false
	defer func() {
		if !more { // also after a panic, or the session would get nothing new any more
			done()
		}
	}()
	var err error
	if more, err = o.page(ctx, s); err != nil {
		o.h.Log().Error("stored messages not delivered", "error", err)
	}
	if !more {
		return
	}
	ping := stanza.NewIQ(stanza.TypeGet, o.h.Domain(), s.JID(), xmlstream.El("urn:xmpp:ping", "ping"))
	o.h.Ask(ctx, ping, func(*stanza.Stanza) {
		defer done()
		if o.h.Session(s.JID()) == s {
			o.deliver(o.turns.context(ctx), s)
		}
	})
}

// page hands stored messages to a session and deletes those that it took. It tells whether there are more.
func (o *offline) page(ctx context.Context, s mod.Session) (more bool, err error) {
	account := s.JID().Bare()
	defer o.turns.take(account)() // two sessions that come at once must not both get a message
	room := s.Room() / pageShare
	list, more, err := o.store.page(ctx, account, o.h.Clock().Now(), max(1, room/messageRoom), min(pageBytes, room))
	if err != nil || len(list) == 0 {
		return false, err
	}
	var gone []int64
	var kept []handed
	known, _ := strconv.ParseInt(s.Flag(skip), 10, 64) // 0 without the flag
	for _, m := range list {
		if m.archived && m.id <= known {
			gone = append(gone, m.id)
			continue
		}
		if st := o.take(ctx, account, m); st != nil {
			o.h.Mark(st)
			o.h.Trace(st.Mark, mod.TraceTaken, "offline", s.JID().String())
			if e := s.Entrust(st, m.sent); e != nil {
				kept = append(kept, handed{e, m})
			} else if !s.Deliver(st) {
				more = false
				break
			}
		}
		gone = append(gone, m.id)
	}
	if len(gone) == 0 {
		return false, nil
	}
	err = o.h.DB().Write(ctx, func(tx mod.Tx) error {
		for _, k := range kept {
			if err := k.to.Write(ctx, tx); err != nil {
				return err
			}
		}
		return o.store.delete(ctx, tx, gone)
	})
	if err != nil {
		for _, k := range kept {
			k.to.Drop()
		}
		return false, err
	}
	return more, o.hand(ctx, account, kept)
}

// handed is a message that a session has taken over.
type handed struct {
	to mod.Entrusted
	m  message
}

// hand delivers messages that are kept for a session by now. Those that it does not take any more come back.
func (o *offline) hand(ctx context.Context, account jid.JID, kept []handed) error {
	var back []message
	for _, k := range kept {
		if !k.to.Deliver() {
			back = append(back, k.m)
		}
	}
	if len(back) == 0 {
		return nil
	}
	return o.h.DB().Write(ctx, func(tx mod.Tx) error {
		for _, m := range back {
			if err := o.store.add(ctx, tx, account, m.sent, o.expires(o.h.Clock().Now()), m.archived, m.wire); err != nil {
				return err
			}
		}
		return nil
	})
}

// take returns a stored message, or nil where it is not to be delivered: from somebody whom the user has blocked since
// (XEP-0191#block), or damaged.
func (o *offline) take(ctx context.Context, account jid.JID, m message) *stanza.Stanza {
	s, err := m.parse()
	if err != nil {
		o.h.Log().Error("a stored message cannot be read and is dropped", "id", m.id, "error", err)
		return nil
	}
	if err := o.h.Refuses(ctx, &mod.Pass{Stanza: s, Side: mod.In, Account: account}); err != nil {
		o.h.Log().Debug("a stored message is refused by now", "id", m.id, "why", err)
		return nil
	}
	return s
}

// never is the expiry of a message that is kept for ever.
var never = time.UnixMicro(math.MaxInt64)

// expires is when a message expires that is stored now.
func (o *offline) expires(now time.Time) time.Time {
	if o.c.Keep == 0 {
		return never
	}
	return now.Add(time.Duration(o.c.Keep))
}

// expireLoop deletes what is too old, until the host stops.
func (o *offline) expireLoop(ctx context.Context) {
	tick := time.NewTicker(sweep)
	defer tick.Stop()
	for {
		o.promised.sweep(o.h.Clock().Now())
		if err := o.expire(ctx); err != nil && ctx.Err() == nil {
			o.h.Log().Error("old messages not deleted", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (o *offline) expire(ctx context.Context) error {
	for more := true; more; {
		err := o.h.DB().Write(ctx, func(tx mod.Tx) (err error) {
			more, err = o.store.expire(ctx, tx, o.h.Clock().Now())
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
