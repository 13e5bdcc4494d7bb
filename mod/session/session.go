// Package session answers the request for a session of RFC 3921 §3, which RFC 6121 has done away with: clients of that
// time wait for it. The feature says that it is optional (draft-cridland-xmpp-session), so the others skip it.
package session

import (
	"context"

	"sabir/mod"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

const ns = "urn:ietf:params:xml:ns:xmpp-session"

// Info describes the extension.
var Info = mod.Info{
	Name:  "session",
	Specs: []string{"RFC 3921 §3"},
	Doc:   "Lets clients that know only the older standard establish their session.",
	New: func(mod.Host, any) (*mod.Hooks, error) {
		return &mod.Hooks{
			StreamFeatures: []mod.StreamFeature{{Auth: true, Func: func() *xmlstream.Element {
				return xmlstream.El(ns, "session", xmlstream.El(ns, "optional"))
			}}},
			IQ: []mod.IQHandler{{
				At: mod.AtOwn | mod.AtHost, Space: ns, Local: "session", Type: stanza.TypeSet, Quiet: true,
				Func: func(context.Context, *mod.Request) (*xmlstream.Element, error) {
					return nil, nil // binding has done it all
				},
			}},
		}, nil
	},
}
