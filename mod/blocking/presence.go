package blocking

import (
	"context"
	"slices"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// goOffline sends unavailable presence to those who are blocked by now and not by old, from each available resource of
// which they know (XEP-0191#block): to contacts with a subscription, and where directed presence was sent.
func (b *blocking) goOffline(ctx context.Context, account jid.JID, old, now set) {
	newly := func(j jid.JID) bool { return j.Bare() != account && now.blocks(j) && !old.blocks(j) }
	followers, err := b.followers(ctx, account, now)
	if err != nil {
		b.h.Log().Error("unavailable presence not sent to those newly blocked", "error", err)
		return
	}
	for _, s := range b.h.Sessions(account) {
		var to []jid.JID
		if s.Presence() != nil {
			to = slices.DeleteFunc(slices.Clone(followers), func(j jid.JID) bool { return !newly(j) })
		}
		for _, j := range s.Directed() {
			if newly(j) {
				s.Direct(j, false)
				if !slices.Contains(to, j) {
					to = append(to, j)
				}
			}
		}
		for _, j := range to {
			p := stanza.New(stanza.Presence, stanza.TypeUnavailable)
			p.From, p.To = s.JID(), j
			b.h.Route(ctx, p)
		}
	}
}

// comeBack sends the current presence to contacts with a subscription that were blocked by old and are not by now
// (XEP-0191#unblock).
func (b *blocking) comeBack(ctx context.Context, account jid.JID, old, now set) {
	followers, err := b.followers(ctx, account, old)
	if err != nil {
		b.h.Log().Error("presence not sent to those unblocked", "error", err)
		return
	}
	for _, s := range b.h.Sessions(account) {
		p := s.Presence()
		if p == nil {
			continue
		}
		for _, j := range followers {
			if j.Bare() != account && old.blocks(j) && !now.blocks(j) {
				p := p.Clone()
				p.From, p.To = s.JID(), j
				b.h.Route(ctx, p)
			}
		}
	}
}

// followers are the addresses that may see the account's presence: the bare JIDs of contacts, and those of their
// resources that are listed in items by themselves.
func (b *blocking) followers(ctx context.Context, account jid.JID, items set) ([]jid.JID, error) {
	contacts, err := b.h.Roster().Contacts(ctx, account)
	if err != nil {
		return nil, err
	}
	may := make(set, len(contacts))
	var all []jid.JID
	for _, c := range contacts {
		if c.Subscription&mod.SubFrom != 0 {
			may[c.JID] = struct{}{}
			all = append(all, c.JID)
		}
	}
	for j := range items {
		if !j.IsBare() && may.has(j.Bare()) {
			all = append(all, j)
		}
	}
	slices.SortFunc(all, jid.JID.Compare)
	return slices.Compact(all), nil
}
