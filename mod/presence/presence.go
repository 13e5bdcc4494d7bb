// Package presence owns the exchange of presence (RFC 6121 §4): broadcast to those who are subscribed and to the
// account's own resources, probes and their answers, directed presence, and the end of a resource however it comes about.
// The stanzas that change subscriptions (§3) belong to the roster.
package presence

import (
	"context"
	"embed"
	"hash/maphash"
	"sync"
	"time"

	"sabir/engine/lazy"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

//go:embed schema/*.sql
var schema embed.FS

// Info describes the extension.
var Info = mod.Info{
	Name:   "presence",
	Specs:  []string{"RFC 6121 §4", "XEP-0203 2.0"},
	Doc:    "Tells contacts and the account's own devices who is available.",
	Schema: schema,
	New:    func(h mod.Host, _ any) (*mod.Hooks, error) { return newExtension(h).hooks(), nil },
}

type extension struct {
	h    mod.Host
	last last
	seed maphash.Seed
	// turns are held while the presence of an account changes and is told, so that who hears of two changes hears of
	// the last one last. An account has the one that its address picks. Under a turn only available and unavailable
	// presence is routed, whose recipients take none.
	turns [64]sync.Mutex
}

func newExtension(h mod.Host) *extension {
	return &extension{h: h, last: last{db: h.DB(), later: lazy.New(h), at: map[jid.JID]time.Time{}}, seed: maphash.MakeSeed()}
}

// turn takes the turn of an account, which the caller unlocks.
func (x *extension) turn(account jid.JID) *sync.Mutex {
	m := &x.turns[maphash.String(x.seed, account.String())%uint64(len(x.turns))]
	m.Lock()
	return m
}

func (x *extension) hooks() *mod.Hooks {
	one := func(typ string) []string { return []string{typ} }
	return &mod.Hooks{
		Presence: []mod.PresenceHandler{
			{Side: mod.Out, Broadcast: true, Types: one(stanza.TypeAvailable), Func: x.available},
			{Side: mod.Out, Broadcast: true, Types: one(stanza.TypeUnavailable), Func: x.unavailable},
			{Side: mod.Out, Broadcast: true, Types: []string{stanza.TypeProbe, stanza.TypeError}, Func: noAddress},
			{Side: mod.Out, Types: []string{stanza.TypeAvailable, stanza.TypeUnavailable}, Func: x.directed},
			{Side: mod.Out, Types: one(stanza.TypeProbe), Func: x.clientProbe},
			{Side: mod.In, Types: one(stanza.TypeProbe), Func: x.probed},
		},
		Observe: []mod.ObserveHook{{When: mod.When{Side: mod.In, Kinds: mod.Presences}, Func: x.failed}},
		Unbound: x.unbound,
		Start:   x.last.later.Start, Stop: x.last.later.Stop,
		BeforeAccountRemoved: func(ctx context.Context, _ jid.JID) error { return x.last.later.Flush(ctx) },
		AccountRemoved:       x.last.forget,
	}
}

// noAddress refuses a probe that asks nobody, and ends an error that answers nobody: errors are not answered
// (RFC 6120 §8.3.1).
func noAddress(_ context.Context, p *mod.Pass) error {
	if p.Stanza.Type == stanza.TypeError {
		return mod.Drop{Why: "an error without an address"}
	}
	return stanza.Err(stanza.BadRequest, "a probe has an address")
}

// available handles the broadcast of available presence (RFC 6121 §4.2.2, §4.4.2).
func (x *extension) available(ctx context.Context, p *mod.Pass) error {
	priority, ok := p.Stanza.Priority()
	if !ok {
		return stanza.Err(stanza.BadRequest, "a priority is an integer from -128 to 127") // RFC 6121 §4.7.2.3
	}
	contacts, initial, err := x.announce(ctx, p, priority)
	if err == nil && initial {
		x.probe(ctx, p.Session, contacts)
	}
	return err
}

// announce sets and tells a presence. It returns the contacts, and whether the resource was not available before.
func (x *extension) announce(ctx context.Context, p *mod.Pass, priority int8) (contacts []mod.Contact, initial bool, err error) {
	defer x.turn(p.Account).Unlock()
	s, was, before := p.Session, p.Session.Presence(), p.Session.Priority()
	// The presence is set before the roster is read, and the roster extension reads the presence after it changed the
	// roster: whoever becomes a subscriber meanwhile is told by one of the two.
	s.SetPresence(p.Stanza, priority)
	if contacts, err = x.h.Roster().Contacts(ctx, p.Account); err != nil {
		s.SetPresence(was, before)
		return nil, false, err
	}
	x.broadcast(ctx, p.Stanza, contacts)
	x.toOwn(p.Account, p.Stanza)
	if was != nil {
		return contacts, false, nil
	}
	for _, t := range x.h.Sessions(p.Account) { // RFC 6121 §4.2.2
		if other := t.Presence(); other != nil && t.JID() != s.JID() {
			s.Send(other)
		}
	}
	return contacts, true, nil
}

// broadcast sends a presence to the contacts that are subscribed to it.
func (x *extension) broadcast(ctx context.Context, st *stanza.Stanza, contacts []mod.Contact) {
	x.h.RouteAll(ctx, []mod.Fan{{Stanza: st, To: with(mod.SubFrom, contacts)}})
}

// with returns the addresses of the contacts that have a subscription.
func with(sub mod.Subscription, contacts []mod.Contact) []jid.JID {
	to := make([]jid.JID, 0, len(contacts))
	for i := range contacts {
		if contacts[i].Subscription&sub != 0 {
			to = append(to, contacts[i].JID)
		}
	}
	return to
}

// toOwn sends a presence to the available resources of the account it is of, the one that made it included
// (RFC 6121 §4.2.2, §4.4.2, §4.5.2).
func (x *extension) toOwn(account jid.JID, st *stanza.Stanza) {
	for _, t := range x.h.Sessions(account) {
		if t.Presence() != nil {
			t.Send(st)
		}
	}
}

// probe asks for the presence of the contacts that the account sees (RFC 6121 §4.3.1).
func (x *extension) probe(ctx context.Context, s mod.Session, contacts []mod.Contact) {
	to := with(mod.SubTo, contacts)
	if len(to) == 0 {
		return
	}
	probe := stanza.New(stanza.Presence, stanza.TypeProbe)
	probe.ID, probe.From = stanza.NewID(), s.JID()
	x.h.RouteAll(ctx, []mod.Fan{{Stanza: probe, To: to}})
}

// unavailable handles the broadcast of unavailable presence (RFC 6121 §4.5.2).
func (x *extension) unavailable(ctx context.Context, p *mod.Pass) error {
	s := p.Session
	was := s.Presence() != nil
	s.SetPresence(nil, 0) // before the roster is read, as in announce
	if was {
		s.Send(p.Stanza) // the resource itself is told as well
	}
	x.leave(ctx, s, p.Stanza, was)
	return nil
}

// unbound makes up for the unavailable presence that a session did not send (RFC 6121 §4.5.2).
func (x *extension) unbound(ctx context.Context, s mod.Session, presence *stanza.Stanza) {
	st := stanza.New(stanza.Presence, stanza.TypeUnavailable)
	st.From = s.JID()
	x.leave(ctx, s, st, presence != nil)
}

// leave ends the availability of a resource, which was available at large or not.
func (x *extension) leave(ctx context.Context, s mod.Session, st *stanza.Stanza, was bool) {
	directed := s.Directed()
	if !was && len(directed) == 0 {
		return
	}
	account := s.JID().Bare()
	x.gone(ctx, s, st, was, directed)
	if was {
		x.remember(ctx, account)
	}
}

// gone tells all who know that a resource was available, by broadcast if it was so at large, that it is not so any more.
func (x *extension) gone(ctx context.Context, s mod.Session, st *stanza.Stanza, was bool, directed []jid.JID) {
	account := s.JID().Bare()
	defer x.turn(account).Unlock()
	// A client that reconnects may be available again by the time its old stream is found dead.
	again := x.h.Session(s.JID())
	if was && (again == nil || again.Presence() == nil) {
		contacts, err := x.h.Roster().Contacts(ctx, account)
		if err != nil {
			x.h.Log().Error("contacts not told of an unavailable resource", "error", err)
		}
		x.broadcast(ctx, st, contacts)
		x.toOwn(account, st)
	}
	// RFC 6121 §4.6.3: and those to whom the resource made itself known by directed presence. A contact who is
	// subscribed has been told.
	var rest []jid.JID
	for _, to := range directed {
		s.Direct(to, false)
		if !was || !x.subscribed(ctx, account, to.Bare()) {
			rest = append(rest, to)
		}
	}
	x.h.RouteAll(ctx, []mod.Fan{{Stanza: st, To: rest}})
}

// subscribed tells whether a contact sees the presence of an account. The account sees its own.
func (x *extension) subscribed(ctx context.Context, account, contact jid.JID) bool {
	if contact == account {
		return true
	}
	c, _, err := x.h.Roster().Contact(ctx, account, contact)
	if err != nil {
		x.h.Log().Error("roster not read", "error", err)
	}
	return c.Subscription&mod.SubFrom != 0
}

// remember keeps the time at which the last resource of an account became unavailable.
func (x *extension) remember(ctx context.Context, account jid.JID) {
	for _, t := range x.h.Sessions(account) {
		if t.Presence() != nil {
			return
		}
	}
	// The sessions of a removed account end after it.
	if ok, err := x.h.Accounts().Exists(ctx, account.Local()); err == nil && !ok {
		return
	}
	x.last.set(account, x.h.Clock().Now())
}

// directed notes to whom a client makes itself known, so that they are told when it is gone (RFC 6121 §4.6.3).
func (x *extension) directed(ctx context.Context, p *mod.Pass) error {
	s, to := p.Session, p.Stanza.To
	if s == nil {
		return nil // made by the server for a session
	}
	if p.Stanza.Type == stanza.TypeUnavailable {
		s.Direct(to, false)
		return nil
	}
	if s.Presence() != nil && x.subscribed(ctx, p.Account, to.Bare()) {
		return nil // broadcasts reach them (RFC 6121 §4.6.3)
	}
	if !s.Direct(to, true) {
		return stanza.Err(stanza.ResourceConstraint, "there are too many addresses with directed presence")
	}
	return nil
}

// failed sees a presence error go by. Who could not be reached by directed presence is not told of its end (RFC 6121 §4.6.3).
func (x *extension) failed(_ context.Context, p *mod.Pass, _ mod.Outcome) {
	if p.Stanza.Type != stanza.TypeError {
		return
	}
	if t := x.h.Session(p.Stanza.To); t != nil {
		t.Direct(p.Stanza.From, false)
	}
}
