package mod

import (
	"context"

	"sabir/xmpp/jid"
	wire "sabir/xmpp/payload/disco"
)

// Info returns the answer in the form of the wire. Every place that tells about itself uses it, so that answers and the
// hashes over them (XEP-0115) agree.
func (d Disco) Info(node string) *wire.Info {
	i := &wire.Info{Node: node, Features: d.Features, Forms: d.Forms}
	for _, id := range d.Identities {
		i.Identities = append(i.Identities, wire.Identity{Category: id.Category, Type: id.Type, Lang: id.Lang, Name: id.Name})
	}
	return i
}

// SeesPresence tells whether who may see the presence of account: the account itself, or somebody with a subscription to
// it (RFC 6121 §2.1.2.5: state from or both in the account's roster). Answers that depend on it must be the same for
// an account that does not exist.
func SeesPresence(ctx context.Context, r Roster, account, who jid.JID) (bool, error) {
	if who.Bare() == account {
		return true, nil
	}
	c, ok, err := r.Contact(ctx, account, who.Bare())
	return ok && c.Subscription&SubFrom != 0, err
}
