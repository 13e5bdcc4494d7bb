package route

import (
	"context"
	"errors"
	"time"

	"sabir/internal/host"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// presence routes a presence (RFC 6121 §3, §4, §8).
func (b *Batch) presence(ctx context.Context, s *stanza.Stanza) {
	h := b.r.Host(s.From.DomainJID())
	if h == nil || b.s == nil {
		// From another server, or made by this one: the sender's side has done its part.
		if s, ok := b.out(ctx, s); ok {
			b.presenceTo(ctx, s)
		}
		return
	}
	p := &mod.Pass{Stanza: s, Side: mod.Out, Account: s.From.Bare(), Session: b.s}
	if !b.admit(ctx, h, p) || !b.rewrite(ctx, h, p) {
		return
	}
	broadcast := s.To.IsZero()
	was, prio := b.s.Available()
	if broadcast && s.Type == stanza.TypeAvailable {
		// From now on messages may find the session, and those that were stored for it come first.
		defer b.s.CatchUp()()
		if !was || prio < 0 { // another has been found by messages all the while
			b.awaitGone(ctx, p.Account)
		}
	}
	q, ok := h.Presence(mod.Out, s.Type, broadcast)
	if ok {
		b.ext = q.Extension
		if err := q.Func(ctx, p); errors.Is(err, mod.ErrAnswered) {
			return
		} else if err != nil {
			b.fail(ctx, s, q.Extension, err)
			return
		}
	}
	switch {
	case !broadcast:
		b.presenceTo(ctx, p.Stanza)
	case !ok:
		b.refuse(ctx, s, stanza.Errf(stanza.BadRequest, "a presence of type %q has an address", s.Type))
	default:
		b.r.o.Count(stanza.Presence, mod.Forwarded)
		if s.Type == stanza.TypeAvailable {
			h.Available(ctx, b.s, !was)
		}
	}
}

// maxAwait bounds how long a session that becomes available waits for what others of its account held, which have ended.
const maxAwait = 10 * time.Second

// awaitGone waits until that is stored, or on its way to another session.
func (b *Batch) awaitGone(ctx context.Context, account jid.JID) {
	ctx, cancel := context.WithTimeout(ctx, maxAwait)
	defer cancel()
	if err := b.r.o.Directory.AwaitGone(ctx, account); err != nil {
		b.r.o.Log.Warn("a session does not wait any longer for what another held", "account", account.String(), "error", err)
	}
}

// presenceTo hands a presence to its recipient's side.
func (b *Batch) presenceTo(ctx context.Context, s *stanza.Stanza) {
	if s.To.IsZero() {
		return
	}
	if h := b.r.Host(s.To.DomainJID()); h != nil {
		b.presenceIn(ctx, h, s)
		return
	}
	if v := b.r.Service(s.To.DomainJID()); v != nil {
		b.presenceToService(ctx, v, s)
		return
	}
	b.send(ctx, s)
}

// presenceIn handles a presence to a local address. What no extension takes goes to the resources that it means
// (RFC 6121 §8.5.2.1.2, §8.5.3.1, §8.5.3.2.2).
func (b *Batch) presenceIn(ctx context.Context, h *host.Host, s *stanza.Stanza) {
	if s.To.Local() == "" { // the server itself has no roster and follows nobody
		b.r.o.Count(stanza.Presence, mod.Dropped)
		return
	}
	p := &mod.Pass{Stanza: s, Side: mod.In, Account: s.To.Bare()}
	if !b.admit(ctx, h, p) || !b.rewrite(ctx, h, p) {
		return
	}
	if q, ok := h.Presence(mod.In, s.Type, false); ok {
		b.ext = q.Extension
		if err := q.Func(ctx, p); err != nil && !errors.Is(err, mod.ErrAnswered) {
			b.fail(ctx, p.Stanza, q.Extension, err)
			return
		}
		b.r.o.Count(stanza.Presence, mod.Delivered)
		b.observe(ctx, h, p, mod.Delivered)
		return
	}
	o := mod.Dropped
	for _, t := range b.r.o.Directory.Sessions(p.Account) {
		ok, _ := t.Available()
		if s.To.IsFull() {
			ok = t.JID() == s.To
		}
		if ok && b.queue(t, p.Stanza) {
			o = mod.Delivered
		}
	}
	b.r.o.Count(stanza.Presence, o)
	b.observe(ctx, h, p, o)
}
