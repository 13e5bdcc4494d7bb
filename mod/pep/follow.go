package pep

import (
	"context"

	engine "sabir/engine/pubsub"
	"sabir/engine/vcard"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/bookmark"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// follow tells what a change of a node brings with it. What is for the account alone stays so: of nodes that others may read no
// bookmarks are made, and of those that not all may read no vCard (XEP-0411#security).
func (p *pep) follow(ctx context.Context, account jid.JID, c engine.Changed) (engine.Followed, error) {
	bookmarks := c.Access == engine.AccessWhitelist && p.s.Has(bookmarksCompat) && p.s.Has(bookmarksCompatPEP)
	switch c.Node {
	case vcard.AvatarData, vcard.AvatarMetadata:
		return p.followAvatar(ctx, account, c.Node), nil
	case vcard.Node4:
		if c.Access == engine.AccessOpen {
			return p.followVCard4(ctx, account, c)
		}
	case bookmark.NSItems:
		if bookmarks {
			return p.followNew(ctx, account, c)
		}
	case bookmark.NSList:
		if bookmarks {
			return p.followOld(ctx, account, c)
		}
	}
	return engine.Followed{}, nil
}

// followVCard4 keeps the vCard of the older form in step with a new one (XEP-0292#mapping). The place of the picture stays.
func (p *pep) followVCard4(ctx context.Context, account jid.JID, c engine.Changed) (engine.Followed, error) {
	was, err := vcard.Get(ctx, p.h.DB(), account)
	if err != nil {
		return engine.Followed{}, err
	}
	card := xmlstream.El(vcard.NS, "vCard")
	if now := vcard.From4(c.Payload); now != nil {
		card = now
	}
	if photo := was.Child(vcard.NS, "PHOTO"); photo != nil {
		card.Add(photo)
	}
	return engine.Followed{Write: func(tx mod.Tx) error { return vcard.Put(ctx, tx, account, card) }}, nil
}

// displayed is the node by which the devices of an account agree on what was displayed, which is also the namespace of what it
// holds (XEP-0490).
const displayed = "urn:xmpp:mds:displayed:0"

// assist takes <displayed/> out of a message of a client and publishes it (XEP-0490#interaction).
func (p *pep) assist(ctx context.Context, pass *mod.Pass) error {
	st := pass.Stanza
	x := st.Child(displayed, "displayed")
	if x == nil || !p.s.Has(displayedAssist) || pass.Session == nil || st.Type == stanza.TypeError {
		return nil
	}
	to := st.To
	if to.IsZero() {
		to = pass.Account
	}
	c := st.Clone()
	c.RemoveNamed(displayed, "displayed", func(*xmlstream.Element) bool { return true })
	pass.Stanza = c
	return p.s.Change(ctx, pass.Account, []mod.NodeChange{{Node: displayed, ID: to.String(), Payload: x, Private: true, Many: true}}, nil)
}
