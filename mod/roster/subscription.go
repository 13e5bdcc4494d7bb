package roster

import (
	"context"
	"slices"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// maxRequest bounds the request that is kept until it is answered, in bytes. Of a larger one the last children are left
// out: whoever is online gets it whole all the same.
const maxRequest = 16 << 10

// out handles a subscription stanza of a local account (RFC 6121 §3.1.2, §3.1.5, §3.2.2, §3.3.2, §3.4.2; appendix A.2).
func (x *extension) out(ctx context.Context, p *mod.Pass) error {
	if p.Session == nil {
		return nil // made by the server, which has seen to the roster
	}
	account, contact := p.Account, p.Stanza.To.Bare()
	if contact == account {
		return stanza.Err(stanza.NotAllowed, "an account is not in its own roster")
	}
	before, pass, err := x.send(ctx, account, contact, sent(p.Stanza.Type))
	if err != nil {
		return err
	}
	if !pass {
		return mod.ErrAnswered
	}
	// RFC 6121 §3.1.2: between bare addresses.
	s := between(p.Stanza, account, contact)
	switch s.Type {
	case stanza.TypeSubscribed:
		x.h.Route(ctx, s)
		x.show(ctx, account, contact) // RFC 6121 §3.1.5
		return mod.ErrAnswered
	case stanza.TypeUnsubscribed:
		if before.state&bitFrom != 0 {
			x.hide(ctx, account, contact) // RFC 6121 §3.2.2: while the contact is still subscribed
		}
	}
	p.Stanza = s
	return nil
}

func sent(typ string) event {
	switch typ {
	case stanza.TypeSubscribe:
		return sentSubscribe
	case stanza.TypeUnsubscribe:
		return sentUnsubscribe
	case stanza.TypeSubscribed:
		return sentSubscribed
	}
	return sentUnsubscribed
}

// send changes the roster for a stanza that the account sends, and tells whether that is to be routed. It returns the item
// as it was.
func (x *extension) send(ctx context.Context, account, contact jid.JID, e event) (before item, pass bool, err error) {
	defer x.locks.lock(account)()
	l, err := x.load(ctx, account)
	if err != nil {
		return item{}, false, err
	}
	before, _ = l.find(contact)
	after := before
	pass, after.state = before.state.on(e)
	switch {
	case e == sentSubscribed && !pass && before.state&bitFrom == 0:
		after.approved = true // RFC 6121 §3.4.2
	case e == sentSubscribed, e == sentUnsubscribed:
		after.approved = false
	}
	if after.state&(bitOut|bitFrom) != 0 || after.approved {
		after.listed = true
	}
	if after.listed && !before.listed && l.listed >= x.cfg.MaxItems {
		return before, false, x.full()
	}
	return before, pass, x.update(ctx, account, l, turn{before: before, after: after})
}

// turn is a change of an item by a subscription stanza.
type turn struct {
	before, after item
	request       string         // as in edit
	deliver       *stanza.Stanza // goes to the interested resources before the push does (RFC 6121 §3.1.6), or nil
}

// update commits a change, if it is one, and pushes what clients see of it.
func (x *extension) update(ctx context.Context, account jid.JID, l *items, t turn) error {
	was, is := &t.before, &t.after
	if was.state == is.state && was.approved == is.approved && was.listed == is.listed {
		return nil
	}
	e := edit{item: *is, request: t.request}
	e.gone = !is.listed && is.state == none
	e.push = is.listed && (!was.listed || was.approved != is.approved || was.state&^bitIn != is.state&^bitIn)
	l, err := x.commit(ctx, account, l, e)
	if err != nil {
		return err
	}
	if t.deliver != nil {
		for _, s := range x.h.Sessions(account) {
			if s.Flag(interested) != "" {
				s.Send(t.deliver)
			}
		}
	}
	if e.push {
		x.push(account, push{l.ver, is.element()})
	}
	x.changed(account, *was, *is)
	return nil
}

// changed tells other extensions of a change, where it is one to them.
func (x *extension) changed(account jid.JID, was, is item) {
	before, after := was.seen(), is.seen()
	if before.Subscription != after.Subscription || !slices.Equal(before.Groups, after.Groups) {
		x.h.ContactChanged(account, before, after)
	}
}

// in handles a subscription stanza to a local account (RFC 6121 §3.1.3, §3.1.6, §3.2.3, §3.3.3, §3.4.2; appendix A.3).
func (x *extension) in(ctx context.Context, p *mod.Pass) error {
	account, contact := p.Account, p.Stanza.From.Bare()
	if contact == account || account.Local() == "" {
		return mod.Drop{Why: "nobody is subscribed to itself, nor to a host"}
	}
	if p.Stanza.Type == stanza.TypeSubscribe {
		ok, err := x.h.Accounts().Exists(ctx, account.Local())
		if err != nil {
			return err
		}
		if !ok {
			return mod.Drop{Why: "no such account"} // RFC 6121 §8.5.1
		}
		return x.requested(ctx, p.Stanza, account, contact)
	}
	before, pass, err := x.receive(ctx, p.Stanza, account, contact)
	if err != nil {
		return err
	}
	if !pass {
		return mod.Drop{Why: "not owed in the state " + before.state.String()}
	}
	if p.Stanza.Type == stanza.TypeUnsubscribe && before.state&bitFrom != 0 {
		x.hide(ctx, account, contact) // RFC 6121 §3.3.3
	}
	return nil
}

func got(typ string) event {
	switch typ {
	case stanza.TypeUnsubscribe:
		return gotUnsubscribe
	case stanza.TypeSubscribed:
		return gotSubscribed
	}
	return gotUnsubscribed
}

// receive changes the roster for a stanza other than a request, and delivers it. It returns the item as it was.
func (x *extension) receive(ctx context.Context, s *stanza.Stanza, account, contact jid.JID) (before item, pass bool, err error) {
	defer x.locks.lock(account)()
	l, err := x.load(ctx, account)
	if err != nil {
		return item{}, false, err
	}
	before, _ = l.find(contact)
	after := before
	if pass, after.state = before.state.on(got(s.Type)); !pass {
		return before, false, nil
	}
	return before, true, x.update(ctx, account, l, turn{before: before, after: after, deliver: between(s, contact, account)})
}

// between returns a subscription stanza with bare addresses.
func between(s *stanza.Stanza, sender, recipient jid.JID) *stanza.Stanza {
	s = s.Clone()
	s.From, s.To = sender, recipient
	return s
}

// requested handles a request to see an account that exists (RFC 6121 §3.1.3).
func (x *extension) requested(ctx context.Context, s *stanza.Stanza, account, contact jid.JID) error {
	granted, err := x.request(ctx, s, account, contact)
	if err != nil || !granted {
		return err
	}
	r := stanza.New(stanza.Presence, stanza.TypeSubscribed)
	r.ID, r.From, r.To = s.ID, account, contact
	x.h.Route(ctx, r)
	x.show(ctx, account, contact)
	return nil
}

// request changes the roster for a request and delivers it, or tells that it is granted.
func (x *extension) request(ctx context.Context, s *stanza.Stanza, account, contact jid.JID) (granted bool, err error) {
	defer x.locks.lock(account)()
	l, err := x.load(ctx, account)
	if err != nil {
		return false, err
	}
	before, _ := l.find(contact)
	after := before
	pass, next := before.state.on(gotSubscribe)
	switch {
	case before.state&bitFrom != 0:
		return true, nil
	case !pass:
		return false, mod.Drop{Why: "asked already"}
	case before.approved: // RFC 6121 §3.4.2
		_, after.state = next.on(sentSubscribed)
		after.approved = false
		return true, x.update(ctx, account, l, turn{before: before, after: after})
	case l.requests >= x.cfg.MaxRequests:
		return false, stanza.Err(stanza.ResourceConstraint, "too many requests wait for an answer")
	}
	after.state = next
	s = between(s, contact, account)
	if err := x.update(ctx, account, l, turn{before: before, after: after, request: record(s)}); err != nil {
		return false, err
	}
	for _, t := range x.h.Sessions(account) {
		if t.Presence() != nil && t.Flag(reminded) != "" {
			t.Send(s)
		}
	}
	return false, nil
}

// record returns a request as it is kept.
func record(s *stanza.Stanza) string {
	if b := s.Append(nil, stanza.NSClient); len(b) <= maxRequest {
		return string(b)
	}
	c := s.Clone()
	size := 0
	c.RemoveFunc(func(e *xmlstream.Element) bool {
		size += len(e.String())
		return size > maxRequest-8*jid.MaxPart
	})
	return string(c.Append(nil, stanza.NSClient))
}

// available delivers the requests that wait to a resource that has come online (RFC 6121 §3.1.3), and repeats those of
// the account that wait elsewhere (§3.1.2): they may have been lost.
func (x *extension) available(ctx context.Context, s mod.Session, initial bool) {
	if !initial {
		return
	}
	account := s.JID().Bare()
	l, err := x.remind(ctx, s, account)
	if err != nil {
		x.h.Log().Error("roster or subscription requests not read", "error", err)
		return
	}
	for i := range l.all {
		if it := &l.all[i]; it.state&bitOut != 0 {
			x.tell(ctx, stanza.TypeSubscribe, account, it.jid)
		}
	}
}

// reminded is the flag of a session that has been sent the requests that wait. Only such a session gets further ones as
// they come: to another, which is about to be reminded, they would go twice.
const reminded = "roster.reminded"

// remind sends the requests that wait to a session, and returns the roster.
func (x *extension) remind(ctx context.Context, s mod.Session, account jid.JID) (*items, error) {
	defer x.locks.lock(account)()
	s.SetFlag(reminded, "1")
	l, err := x.load(ctx, account)
	if err != nil || l.requests == 0 {
		return l, err
	}
	requests, err := x.requests(ctx, account)
	if err != nil {
		return nil, err
	}
	for _, text := range requests {
		f, err := xmlstream.ParseFrame(text, xmlstream.DefaultLimits)
		if err != nil {
			x.h.Log().Error("a stored subscription request is broken", "error", err)
			continue
		}
		if r, bad := stanza.FromFrame(f); r != nil && bad == nil {
			s.Send(r)
		}
	}
	return l, nil
}

// forgetReminder makes a session that says good-bye be reminded when it comes back.
func (x *extension) forgetReminder(_ context.Context, p *mod.Pass) error {
	if p.Session != nil && p.Stanza.To.IsZero() && p.Stanza.Type == stanza.TypeUnavailable {
		p.Session.SetFlag(reminded, "")
	}
	return nil
}

// farewell ends the subscriptions of an account that is about to be removed.
func (x *extension) farewell(ctx context.Context, account jid.JID) error {
	l, err := x.items(ctx, account)
	if err != nil {
		return err
	}
	for _, it := range l.all {
		x.end(ctx, account, it)
	}
	return nil
}

// end tells a contact that whatever there was between it and the account is over.
func (x *extension) end(ctx context.Context, account jid.JID, it item) {
	if it.state&(bitTo|bitOut) != 0 {
		x.tell(ctx, stanza.TypeUnsubscribe, account, it.jid)
	}
	if it.state&bitFrom != 0 {
		x.hide(ctx, account, it.jid)
	}
	if it.state&(bitFrom|bitIn) != 0 {
		x.tell(ctx, stanza.TypeUnsubscribed, account, it.jid)
	}
}

// tell routes a subscription stanza without further content.
func (x *extension) tell(ctx context.Context, typ string, account, contact jid.JID) {
	s := stanza.New(stanza.Presence, typ)
	s.ID, s.From, s.To = stanza.NewID(), account, contact
	x.h.Route(ctx, s)
}

// show sends the presence of each available resource of the account to a contact (RFC 6121 §3.1.5).
func (x *extension) show(ctx context.Context, account, contact jid.JID) {
	for _, s := range x.h.Sessions(account) {
		if p := s.Presence(); p != nil {
			x.h.Route(ctx, p.WithTo(contact))
		}
	}
}

// hide tells a contact that the available resources of the account are not so any more (RFC 6121 §3.2.2, §3.3.3).
func (x *extension) hide(ctx context.Context, account, contact jid.JID) {
	for _, s := range x.h.Sessions(account) {
		if s.Presence() == nil {
			continue
		}
		p := stanza.New(stanza.Presence, stanza.TypeUnavailable)
		p.From, p.To = s.JID(), contact
		x.h.Route(ctx, p)
	}
}
