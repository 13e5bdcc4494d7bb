package modtest

import (
	"context"
	"errors"
	"slices"
	"testing"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// Get runs an iq of type get, see IQ.
func (h *Host) Get(from, to, payload string) *stanza.Stanza {
	h.t.Helper()
	return h.IQ(stanza.TypeGet, from, to, payload)
}

// Set runs an iq of type set, see IQ.
func (h *Host) Set(from, to, payload string) *stanza.Stanza {
	h.t.Helper()
	return h.IQ(stanza.TypeSet, from, to, payload)
}

// IQ runs a request through the handler that the extension registered for it, and returns the answer: the result, or the
// error that the handler returned. Without a handler that is service-unavailable (RFC 6120 §8.4). For an
// account that does not exist it is, too, unless the handler is Unknown. Where the handler returned ErrAnswered the answer is what
// it sent to the asking session, or nil if it sent none yet. An empty `to` asks the sender's own account.
func (h *Host) IQ(typ, from, to, payload string) *stanza.Stanza {
	h.t.Helper()
	s := stanza.NewIQ(typ, jid.MustParse(from), jid.JID{}, XML(h.t, payload))
	if to != "" {
		s.To = jid.MustParse(to)
	}
	return h.Do(s)
}

// Do is IQ for a stanza made by the test.
func (h *Host) Do(s *stanza.Stanza) *stanza.Stanza {
	h.t.Helper()
	r := &mod.Request{Stanza: s, Payload: s.Payload(), Session: h.Session(s.From), Secure: true}
	if v := h.service(s.To); v != nil {
		return h.toService(v, r)
	}
	places := h.places(s, r)
	q := h.handler(places, s.Type, r.Payload.Name)
	if q == nil {
		return s.ErrorReply(stanza.Err(stanza.ServiceUnavailable, ""))
	}
	if _, ok := h.Password(r.Account.Local()); !ok && r.Account.Local() != "" && r.Account != s.From.Bare() && !q.Unknown {
		return s.ErrorReply(stanza.Err(stanza.ServiceUnavailable, ""))
	}
	return h.answer(q, r)
}

// Stream runs a request on a stream that has no resource, from this network address, encrypted or not.
func (h *Host) Stream(typ, addr string, secure bool, payload string) *stanza.Stanza {
	h.t.Helper()
	s := stanza.NewIQ(typ, jid.JID{}, jid.JID{}, XML(h.t, payload))
	r := &mod.Request{Stanza: s, Payload: s.Payload(), Secure: secure, Addr: addr}
	q := h.handler([]mod.Where{mod.AtStream}, typ, r.Payload.Name)
	if q == nil {
		return s.ErrorReply(stanza.Err(stanza.ServiceUnavailable, ""))
	}
	return h.answer(q, r)
}

// places tells where the request goes, the preferred place first, and fills in r.Account.
func (h *Host) places(s *stanza.Stanza, r *mod.Request) []mod.Where {
	switch {
	case s.To == h.domain:
		return []mod.Where{mod.AtHost}
	case s.To.IsZero() || s.To == s.From.Bare():
		r.Account = s.From.Bare()
		return []mod.Where{mod.AtOwn, mod.AtAccount}
	case s.To.IsBare() && s.To.DomainJID() == h.domain:
		r.Account = s.To
		return []mod.Where{mod.AtAccount}
	}
	return nil
}

func (h *Host) handler(places []mod.Where, typ string, name xmlstream.Name) *mod.IQHandler {
	return find(h.Hooks.IQ, places, typ, name)
}

func find(handlers []mod.IQHandler, places []mod.Where, typ string, name xmlstream.Name) *mod.IQHandler {
	for _, at := range places {
		for i := range handlers {
			q := &handlers[i]
			if q.At&at != 0 && q.Type == typ && q.Space == name.Space && q.Local == name.Local {
				return q
			}
		}
	}
	return nil
}

func (h *Host) answer(q *mod.IQHandler, r *mod.Request) *stanza.Stanza {
	h.t.Helper()
	payload, err := q.Func(h.ctx, r)
	switch {
	case err == nil:
		return r.Result(payload)
	case errors.Is(err, mod.ErrAnswered):
		s, ok := r.Session.(*Session)
		if !ok {
			return h.takeRouted(r.ID)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		i := slices.IndexFunc(s.sent, func(x *stanza.Stanza) bool { return x.Kind == stanza.IQ && x.ID == r.ID })
		if i < 0 {
			return h.takeRouted(r.ID)
		}
		a := s.sent[i]
		s.sent = slices.Delete(s.sent, i, i+1)
		return a
	}
	return r.ErrorReply(h.stanzaError(err))
}

// stanzaError is the error that the sender gets: a *stanza.Error itself. Another is a fault of the extension or of the
// store, and fails the test.
func (h *Host) stanzaError(err error) *stanza.Error {
	h.t.Helper()
	var e *stanza.Error
	if !errors.As(err, &e) {
		h.t.Errorf("%s returned %v, which is no stanza error", h.info.Name, err)
		e = stanza.Err(stanza.InternalServerError, err.Error())
	}
	return e
}

// Pass makes the Pass of a stanza on one side. On side In, Targets is given by targets.
func (h *Host) Pass(side mod.Side, s *stanza.Stanza, targets ...mod.Session) *mod.Pass {
	p := &mod.Pass{Stanza: s, Side: side, Targets: targets}
	if side == mod.Out {
		p.Account = s.From.Bare()
		p.Session = h.Session(s.From)
	} else {
		p.Account = s.To.Bare()
	}
	return p
}

func fits(w mod.When, p *mod.Pass) bool {
	return w.Side&p.Side != 0 && w.Kinds&(1<<p.Stanza.Kind) != 0
}

// Admit runs the Admit hooks and returns the first refusal: a *stanza.Error or a mod.Drop.
func (h *Host) Admit(p *mod.Pass) error {
	for _, k := range h.Hooks.Admit {
		if fits(k.When, p) {
			if err := k.Func(h.ctx, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// Rewrite runs the Rewrite hooks.
func (h *Host) Rewrite(p *mod.Pass) error {
	for _, k := range h.Hooks.Rewrite {
		if fits(k.When, p) {
			if err := k.Func(h.ctx, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// Record runs the Record hooks and commits their writes together.
func (h *Host) Record(p *mod.Pass) error {
	var writes []func(mod.Tx) error
	for _, k := range h.Hooks.Record {
		if !fits(k.When, p) {
			continue
		}
		w, err := k.Func(h.ctx, p)
		if err != nil {
			return err
		}
		if w != nil {
			writes = append(writes, w)
		}
	}
	if len(writes) == 0 {
		return nil
	}
	return h.DB().Write(h.ctx, func(tx mod.Tx) error {
		for _, w := range writes {
			if err := w(tx); err != nil {
				return err
			}
		}
		return nil
	})
}

// Settle runs the Settle hooks.
func (h *Host) Settle(p *mod.Pass) {
	for _, k := range h.Hooks.Settle {
		if fits(k.When, p) {
			k.Func(h.ctx, p)
		}
	}
}

// Fork runs the Fork hooks and returns the copies.
func (h *Host) Fork(p *mod.Pass) []mod.Copy {
	var all []mod.Copy
	for _, k := range h.Hooks.Fork {
		if fits(k.When, p) {
			all = append(all, k.Func(h.ctx, p)...)
		}
	}
	return all
}

// Observe runs the Observe hooks.
func (h *Host) Observe(p *mod.Pass, o mod.Outcome) {
	for _, k := range h.Hooks.Observe {
		if fits(k.When, p) {
			k.Func(h.ctx, p, o)
		}
	}
}

// Presence runs the presence handler that takes p, if there is one, and tells whether there was.
func (h *Host) Presence(p *mod.Pass) (bool, error) {
	broadcast := p.Side == mod.Out && p.Stanza.To.IsZero()
	for _, k := range h.Hooks.Presence {
		if k.Side == p.Side && k.Broadcast == broadcast && slices.Contains(k.Types, p.Stanza.Type) {
			return true, k.Func(h.ctx, p)
		}
	}
	return false, nil
}

// Inline binds by Bind 2 what the session asks for, children of <bind/> in XML (XEP-0386), and returns the children of
// <bound/>. A request that nobody has registered is left out.
func (h *Host) Inline(s *Session, requests ...string) []*xmlstream.Element {
	h.t.Helper()
	var out []*xmlstream.Element
	add := func(e *xmlstream.Element) {
		if e != nil {
			out = append(out, e)
		}
	}
	for _, f := range h.Hooks.Inline {
		if len(f.Requests) == 0 {
			add(f.Func(h.ctx, s, nil))
		}
		for _, r := range requests {
			if e := XML(h.t, r); slices.Contains(f.Requests, e.Name) {
				add(f.Func(h.ctx, s, e))
			}
		}
	}
	return out
}

// Run takes a stanza through Admit, Rewrite and Record of one side and returns its Pass and what stopped it, or nil.
func (h *Host) Run(side mod.Side, s *stanza.Stanza, targets ...mod.Session) (*mod.Pass, error) {
	p := h.Pass(side, s, targets...)
	for _, phase := range []func(*mod.Pass) error{h.Admit, h.Rewrite, h.Record} {
		if err := phase(p); err != nil {
			return p, err
		}
	}
	return p, nil
}

// Remove removes an account with all that the extension keeps of it.
func (h *Host) Remove(local string) {
	h.t.Helper()
	if err := h.Accounts().Delete(h.ctx, local); err != nil {
		h.t.Fatalf("removing %s: %v", local, err)
	}
}

// Context returns a context that ends with the test.
func (h *Host) Context() context.Context { return h.ctx }

// Condition returns the condition of a stanza error, "drop" for a mod.Drop, and "" for nil.
func Condition(t testing.TB, err error) stanza.Condition {
	t.Helper()
	var e *stanza.Error
	var d mod.Drop
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return e.Condition
	case errors.As(err, &d):
		return "drop"
	}
	t.Errorf("%v is neither a stanza error nor a drop", err)
	return stanza.Condition(err.Error())
}
