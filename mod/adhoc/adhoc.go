// Package adhoc offers the commands of the host and of its extensions to clients (XEP-0050), at the domain and at the user's own address,
// to each those that it may give: users
// what concerns their own account, the administrators of the host those of XEP-0133 and of the extensions, those of the
// server all.
package adhoc

import (
	"context"

	"sabir/engine/adhoc"
	"sabir/mod"
	"sabir/xmpp/jid"
)

// Info describes the extension.
var Info = mod.Info{
	Name:  "adhoc",
	Specs: []string{"XEP-0050 1.3.0", "XEP-0133 1.3.1"},
	Doc:   "Lets administrators and users give commands by their clients.",
	New:   newAdhoc,
}

type nodes struct {
	h mod.Host
	r *adhoc.Responder
}

func newAdhoc(h mod.Host, _ any) (*mod.Hooks, error) {
	n := nodes{h, adhoc.New(adhoc.Options{
		Host: h, Name: "Commands",
		Commands: func(jid.JID) []mod.Command { return h.Commands() },
		May: func(_ context.Context, _, who jid.JID, c *mod.Command) (bool, error) {
			return h.Right(who) >= c.Right, nil
		},
	})}
	return &mod.Hooks{IQ: []mod.IQHandler{n.r.IQ(mod.AtHost | mod.AtOwn)}, HostNodes: n}, nil
}

func (n nodes) NodeInfo(ctx context.Context, who jid.JID, node string) (*mod.Disco, error) {
	return n.r.Info(ctx, n.h.Domain(), who, node)
}

func (n nodes) NodeItems(ctx context.Context, who jid.JID, node string) ([]mod.DiscoItem, bool, error) {
	return n.r.Items(ctx, n.h.Domain(), who, node)
}
