package pep

import (
	"context"

	engine "sabir/engine/pubsub"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// observe follows the presence that accounts get, where it alone says what a client understands and that it is there: that of contacts
// elsewhere, and that of whoever is not subscribed to the presence of the account.
func (p *pep) observe(ctx context.Context, pass *mod.Pass, _ mod.Outcome) {
	st := pass.Stanza
	if !st.From.IsFull() || st.From.Bare() == pass.Account {
		return
	}
	switch st.Type {
	case stanza.TypeAvailable:
		if err := p.appears(ctx, pass.Account, st); err != nil {
			p.h.Log().Error("a presence is not taken account of", "from", st.From.String(), "error", err)
		}
	case stanza.TypeUnavailable:
		p.s.EndShared(pass.Account, st.From)
		p.s.RemotePresence(pass.Account, st)
	}
}

// appears notes an available presence, and sends last items where it is news.
func (p *pep) appears(ctx context.Context, account jid.JID, st *stanza.Stanza) error {
	here := st.From.DomainJID() == p.h.Domain()
	subscribed, err := p.subscribed(ctx, account, st.From.Bare(), here)
	if err != nil {
		return err
	}
	switch {
	case !subscribed && st.To == account: // and not a device of it, as rooms do for their occupants
		return p.stranger(ctx, account, st)
	case !subscribed:
	case here && p.broadcasts(st.From):
		p.s.EndShared(account, st.From) // its session says all
	case here && p.s.SharedPresence(account, st), !here && p.elsewhere(account, st):
		p.welcome(ctx, account, account, st)
	}
	return nil
}

// subscribed tells whether somebody is subscribed to the presence of an account. Of two accounts of this host that is in the rosters of
// both: that of who sends presence to many was read just now, and those of the many need not be.
func (p *pep) subscribed(ctx context.Context, account, who jid.JID, here bool) (bool, error) {
	if here {
		c, _, err := p.h.Roster().Contact(ctx, who, account)
		return c.Subscription&mod.SubTo != 0, err
	}
	c, _, err := p.h.Roster().Contact(ctx, account, who)
	return c.Subscription&mod.SubFrom != 0, err
}

// elsewhere notes the presence of a contact elsewhere, and tells whether it is news. One that it has sent as a stranger is not: it was
// welcomed when it became a contact.
func (p *pep) elsewhere(account jid.JID, st *stanza.Stanza) bool {
	was := p.s.EndShared(account, st.From)
	return p.s.RemotePresence(account, st) && (was == nil || !p.h.Capabilities().Same(was, st))
}

// contactChanged follows the rosters.
func (p *pep) contactChanged(account jid.JID, was, is mod.Contact) {
	since := p.h.Clock().Now()
	p.later("following a contact", is.JID, func(ctx context.Context) error { return p.s.ContactChanged(ctx, account, was, is, since) })
}

// broadcasts tells whether a resource of this host is available to all who see it.
func (p *pep) broadcasts(full jid.JID) bool {
	t := p.h.Session(full)
	return t != nil && t.Presence() != nil
}

// stranger notes the presence of somebody who is not subscribed to that of the account (XEP-0060#auto-subscribe-directed). What its
// client understands is asked by the host, and whether there is such an account or not, so that nobody learns that
// (RFC 6120 §13.11).
func (p *pep) stranger(ctx context.Context, account jid.JID, st *stanza.Stanza) error {
	exists, err := p.h.Accounts().Exists(ctx, account.Local())
	if err != nil {
		return err
	}
	if !exists || p.s.SharedPresence(account, st) {
		p.welcome(ctx, account, p.h.Domain(), st)
	}
	return nil
}

// welcome sends a resource the last items that it wants, once it is known what that is.
func (p *pep) welcome(ctx context.Context, account, asker jid.JID, st *stanza.Stanza) {
	who := st.From
	p.h.Capabilities().Learn(ctx, asker, st, func(features []string) {
		since := p.h.Clock().Now()
		p.later("sending last items", who, func(ctx context.Context) error { return p.s.RemoteOnline(ctx, account, who, features, since) })
	})
}

// failed takes the errors that notifications meet. They are for the service, which is the account itself, and for no client
// (XEP-0163#notify-addressing).
func (p *pep) failed(ctx context.Context, pass *mod.Pass) error {
	st := pass.Stanza
	if st.Type != stanza.TypeError || st.To != pass.Account || !st.Has(engine.NSEvent, "event") {
		return nil
	}
	if e := st.Err(); e != nil && e.Type == stanza.Cancel {
		p.s.EndShared(pass.Account, st.From)
	}
	if err := p.s.Bounced(ctx, pass.Account, st); err != nil {
		return err
	}
	return mod.Drop{Why: "the error of a notification"}
}
