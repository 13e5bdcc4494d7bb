package presence

import (
	"context"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/delay"
	"sabir/xmpp/stanza"
)

// clientProbe lets a probe pass that a client sends itself. That is a server's business (RFC 6121 §4.3), but rooms know
// it, too. One to a contact whom the account does not see is ended: the answer would be that of §4.3.2 to a stranger,
// which withdraws a request that waits for its approval.
func (x *extension) clientProbe(ctx context.Context, p *mod.Pass) error {
	if p.Session == nil {
		return nil
	}
	c, ok, err := x.h.Roster().Contact(ctx, p.Account, p.Stanza.To.Bare())
	if err != nil {
		return err
	}
	if ok && c.Subscription&mod.SubTo == 0 {
		return mod.Drop{Why: "a probe of a contact whom the account does not see"}
	}
	return nil
}

// probed answers a probe of a local account (RFC 6121 §4.3.2).
func (x *extension) probed(ctx context.Context, p *mod.Pass) error {
	account, asker := p.Account, p.Stanza.From
	if asker.Bare() != account {
		c, _, err := x.h.Roster().Contact(ctx, account, asker.Bare())
		if err != nil {
			return err
		}
		if c.Subscription&mod.SubFrom == 0 {
			// The same answer for those who do not exist and those who do not want to be seen, with a bare from:
			// nothing leaks (RFC 6121 §4.3.2, §8.5.1).
			r := stanza.New(stanza.Presence, stanza.TypeUnsubscribed)
			r.ID, r.From, r.To = p.Stanza.ID, account, asker.Bare()
			x.h.Route(ctx, r)
			return nil
		}
	}
	if x.present(ctx, p.Stanza.To, asker) {
		return nil
	}
	return x.absent(ctx, p.Stanza.To, asker)
}

// present answers the probe with the presence of each available resource that was asked for, and tells whether there was
// one.
func (x *extension) present(ctx context.Context, probed, asker jid.JID) (found bool) {
	defer x.turn(probed.Bare()).Unlock()
	for _, t := range x.h.Sessions(probed.Bare()) {
		if last := t.Presence(); last != nil && (probed.IsBare() || t.JID() == probed) {
			found = true
			x.h.Route(ctx, last.WithTo(asker))
		}
	}
	return found
}

// absent answers the probe of an account without available resources, or of a resource that is not available.
func (x *extension) absent(ctx context.Context, probed, asker jid.JID) error {
	r := stanza.New(stanza.Presence, stanza.TypeUnavailable)
	r.From, r.To = probed, asker
	if probed.IsBare() {
		at, err := x.last.get(ctx, probed)
		if err != nil {
			return err
		}
		if !at.IsZero() {
			r.Add(delay.Delay{From: x.h.Domain(), Stamp: at}.Element())
		}
	}
	x.h.Route(ctx, r)
	return nil
}
