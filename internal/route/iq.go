package route

import (
	"context"
	"errors"
	"slices"
	"time"

	"sabir/internal/host"
	"sabir/internal/session"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// slowTimeout bounds a request that runs on a session's worker.
const slowTimeout = 30 * time.Second

// iq routes an iq (RFC 6120 §10.3.3, §10.5; RFC 6121 §8.5). Each request gets exactly one answer.
func (b *Batch) iq(ctx context.Context, s *stanza.Stanza) {
	s, ok := b.out(ctx, s)
	if !ok {
		return
	}
	to := s.To
	if to.IsZero() { // RFC 6120 §10.3.3: the server answers on behalf of the account
		to = s.From.Bare()
	}
	h := b.r.Host(to.DomainJID())
	v := b.r.Service(to.DomainJID())
	switch {
	case v != nil:
		b.iqToService(ctx, v, s)
	case h == nil:
		b.send(ctx, s)
	case to.IsFull() && to.Local() != "":
		b.iqToSession(ctx, h, s)
	case !s.Request():
		if h.Answer(s) {
			b.r.o.Count(stanza.IQ, mod.Delivered)
		} else {
			b.r.o.Count(stanza.IQ, mod.Dropped)
		}
	case to.IsFull(): // a resource of the server itself: there is none
		b.refuse(ctx, s, stanza.Err(stanza.ServiceUnavailable, ""))
	case to.Local() == "":
		b.request(ctx, h, s, mod.AtHost, jid.JID{})
	case to == s.From.Bare():
		at := mod.AtOwn
		if _, own := h.IQ(at, s.Type, s.PayloadName()); !own {
			at = mod.AtAccount
		}
		b.request(ctx, h, s, at, to)
	default:
		b.iqToAccount(ctx, h, s, to)
	}
}

// iqToAccount handles a request to somebody else's account.
func (b *Batch) iqToAccount(ctx context.Context, h *host.Host, s *stanza.Stanza, to jid.JID) {
	p := &mod.Pass{Stanza: s, Side: mod.In, Account: to}
	if !b.admit(ctx, h, p) || !b.rewrite(ctx, h, p) {
		return
	}
	if q, ok := h.IQ(mod.AtAccount, s.Type, s.PayloadName()); ok && !q.Unknown {
		ok, err := h.Accounts().Exists(ctx, to.Local())
		if err != nil {
			b.fail(ctx, s, "accounts", err)
			return
		}
		if !ok { // RFC 6121 §8.5.1
			b.refuse(ctx, s, stanza.Err(stanza.ServiceUnavailable, ""))
			return
		}
	}
	b.request(ctx, h, p.Stanza, mod.AtAccount, to)
}

// iqToSession delivers an iq to a resource (RFC 6121 §8.5.3).
func (b *Batch) iqToSession(ctx context.Context, h *host.Host, s *stanza.Stanza) {
	p := &mod.Pass{Stanza: s, Side: mod.In, Account: s.To.Bare()}
	if !b.admit(ctx, h, p) || !b.rewrite(ctx, h, p) {
		return
	}
	s = p.Stanza
	t := b.r.o.Directory.Find(s.To)
	if t != nil && s.Request() && !b.mayAsk(ctx, h, s, t) {
		t = nil
	}
	if t != nil && b.queue(t, s) {
		b.r.o.Count(stanza.IQ, mod.Delivered)
		return
	}
	if !s.Request() {
		b.r.o.Count(stanza.IQ, mod.Dropped)
		return
	}
	b.refuse(ctx, s, stanza.Err(stanza.ServiceUnavailable, ""))
}

// mayAsk tells whether the sender of a request may know that the session exists: it is of the same account, or the
// server's own, or may see the account's presence, or was sent directed presence (RFC 6121 §8.5.3.1, RFC 6120 §13.10.2),
// on whatever resource: who has entered a room is asked by its occupants.
func (b *Batch) mayAsk(ctx context.Context, h *host.Host, s *stanza.Stanza, t *session.Session) bool {
	from := s.From.Bare()
	if from == s.To.Bare() || s.From == h.Domain() {
		return true
	}
	if slices.ContainsFunc(t.Directed(), func(d jid.JID) bool { return d.Bare() == from }) {
		return true
	}
	c, ok, err := h.Roster().Contact(ctx, s.To.Bare(), from)
	if err != nil {
		b.r.o.Log.Error("the roster cannot be read", "error", err)
		return false
	}
	return ok && c.Subscription&mod.SubFrom != 0
}

// request finds the handler of a request and sees to its answer.
func (b *Batch) request(ctx context.Context, h *host.Host, s *stanza.Stanza, at mod.Where, account jid.JID) {
	q, ok := h.IQ(at, s.Type, s.PayloadName())
	if !ok {
		b.refuse(ctx, s, stanza.Err(stanza.ServiceUnavailable, ""))
		return
	}
	r := &mod.Request{Stanza: s, Payload: s.Payload(), Account: account}
	if b.s != nil {
		on := b.s.Carrier()
		r.Session, r.Secure, r.Addr = b.s, on.Secure, on.Addr
	}
	b.call(ctx, q, r)
}

// call runs a handler, or has the worker of the sender's session run it.
func (b *Batch) call(ctx context.Context, q host.IQ, r *mod.Request) {
	s := r.Stanza
	if b.s == nil || !q.Slow && (q.SlowFor == nil || !q.SlowFor(r)) {
		b.handle(ctx, q, r)
		return
	}
	ok := b.s.Work(func() {
		ctx, cancel := context.WithTimeout(context.Background(), slowTimeout)
		defer cancel()
		w := &Batch{r: b.r, s: b.s}
		defer w.start()
		defer func() {
			if v := recover(); v != nil {
				w.recovered(ctx, s, v)
			}
		}()
		w.handle(ctx, q, r)
	})
	if !ok {
		b.refuse(ctx, s, stanza.Err(stanza.ResourceConstraint, "too many requests wait for an answer").OfType(stanza.Wait))
	}
}

func (b *Batch) handle(ctx context.Context, q host.IQ, r *mod.Request) {
	b.ext = q.Extension
	payload, err := q.Func(ctx, r)
	switch {
	case err == nil:
		b.r.o.Count(stanza.IQ, mod.Delivered)
		a := r.Result(payload)
		if a.From.IsZero() {
			a.From = r.From.Bare()
		}
		b.answer(ctx, a)
	case errors.Is(err, mod.ErrAnswered):
		b.r.o.Count(stanza.IQ, mod.Delivered)
	default:
		b.fail(ctx, r.Stanza, q.Extension, err)
	}
}

// Stream answers a request that came on a stream without a resource, from an extension registered at mod.AtStream. It
// returns false where no extension does.
func (r *Router) Stream(ctx context.Context, h *host.Host, s *stanza.Stanza, secure bool, addr string) (reply *stanza.Stanza, ok bool) {
	q, ok := h.IQ(mod.AtStream, s.Type, s.PayloadName())
	if !ok {
		return nil, false
	}
	defer func() {
		if v := recover(); v != nil {
			r.o.Panicked(q.Extension)
			r.o.Log.Error("panic while handling a request", "extension", q.Extension, "panic", v, "stack", stack())
			reply, ok = s.ErrorReply(stanza.Err(stanza.InternalServerError, "")), true
		}
	}()
	payload, err := q.Func(ctx, &mod.Request{Stanza: s, Payload: s.Payload(), Secure: secure, Addr: addr})
	if err != nil {
		return s.ErrorReply(r.stanzaError(q.Extension, err)), true
	}
	return s.Result(payload), true
}
