package devices

import (
	"context"
	"errors"
	"strconv"

	"sabir/mod"
	"sabir/xmpp/payload/datetime"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

const ns = "urn:xmpp:cam:0"

// Info describes the extension.
var Info = mod.Info{
	Name:  "devices",
	Specs: []string{"XEP-0494 0.1.0"},
	Doc:   "Shows users which clients have access to their account, and lets them take it away.",
	New: func(h mod.Host, _ any) (*mod.Hooks, error) {
		d := devices{h}
		return &mod.Hooks{IQ: []mod.IQHandler{
			{At: mod.AtOwn, Space: ns, Local: "list", Type: stanza.TypeGet, Func: d.list},
			{At: mod.AtOwn, Space: ns, Local: "revoke", Type: stanza.TypeSet, Func: d.revoke},
		}}, nil
	},
}

type devices struct{ h mod.Host }

// list tells who has access (XEP-0494#listing-clients).
func (d devices) list(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	all, err := d.h.Accounts().Devices(ctx, r.Account.Local())
	if err != nil {
		return nil, err
	}
	x := xmlstream.El(ns, "clients")
	for _, c := range all {
		x.Add(client(c))
	}
	return x, nil
}

func client(c mod.Device) *xmlstream.Element {
	auth := xmlstream.El(ns, "auth")
	if c.Password {
		auth.Add(xmlstream.El(ns, "password"))
	}
	if c.Token {
		auth.Add(xmlstream.El(ns, "fast"))
	}
	x := xmlstream.El(ns, "client",
		xmlstream.A("connected", strconv.FormatBool(c.Connected)), xmlstream.A("id", c.ID), xmlstream.A("type", "session"),
		xmlstream.El(ns, "first-seen", datetime.Format(c.FirstSeen)), xmlstream.El(ns, "last-seen", datetime.Format(c.LastSeen)),
		auth, xmlstream.El(ns, "permission", xmlstream.A("status", "unrestricted")))
	agent := xmlstream.El(ns, "user-agent")
	if c.Software != "" {
		agent.Add(xmlstream.El(ns, "software", c.Software))
	}
	if c.Device != "" {
		agent.Add(xmlstream.El(ns, "device", c.Device))
	}
	if agent.First() != nil {
		x.Add(agent)
	}
	return x
}

// revoke takes the access of a client away (XEP-0494#revoking-access).
func (d devices) revoke(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	id := r.Payload.Attr("id")
	if id == "" {
		return nil, stanza.Err(stanza.BadRequest, "the id of a client is missing")
	}
	err := d.h.Accounts().Revoke(ctx, r.Account.Local(), id, false)
	switch {
	case errors.Is(err, mod.ErrPasswordKnown):
		e := stanza.Err(stanza.ServiceUnavailable, "this client knows the password: set a new one").OfType(stanza.Cancel)
		e.App = xmlstream.El(ns, "password-reset-required")
		return nil, e
	case errors.Is(err, mod.ErrNoRows):
		return nil, stanza.Err(stanza.ItemNotFound, "there is no such client")
	case err == nil:
		d.h.Log().Info("the access of a client was revoked", "account", r.Account.String(), "client", id)
	}
	return nil, err
}
