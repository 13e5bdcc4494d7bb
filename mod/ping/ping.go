package ping

import (
	"context"

	"sabir/mod"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

const ns = "urn:xmpp:ping"

// Info describes the extension.
var Info = mod.Info{
	Name:  "ping",
	Specs: []string{"XEP-0199 2.0.1"},
	Doc:   "Answers pings, by which clients and other servers find out whether a connection still works.",
	New:   newPing,
}

func newPing(h mod.Host, _ any) (*mod.Hooks, error) {
	return &mod.Hooks{IQ: []mod.IQHandler{{
		At: mod.AtHost | mod.AtAccount, Space: ns, Local: "ping", Type: stanza.TypeGet,
		Func: func(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) { return pong(ctx, h, r) },
	}}}, nil
}

// pong answers for the host and, on behalf of their clients, for accounts (XEP-0199#c2s, XEP-0199#e2e). Strangers get from an
// account what they get from one that does not exist (RFC 6121 §8.5.1).
func pong(ctx context.Context, h mod.Host, r *mod.Request) (*xmlstream.Element, error) {
	if r.Account.IsZero() {
		return nil, nil
	}
	ok, err := mod.SeesPresence(ctx, h.Roster(), r.Account, r.From)
	if err == nil && !ok {
		err = stanza.Err(stanza.ServiceUnavailable, "")
	}
	return nil, err
}
