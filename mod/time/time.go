package entitytime

import (
	"context"

	"sabir/mod"
	"sabir/xmpp/payload/datetime"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

const ns = "urn:xmpp:time"

// Info describes the extension.
var Info = mod.Info{
	Name:   "time",
	Specs:  []string{"XEP-0202 2.0", "XEP-0082 1.1.1"},
	Doc:    "Tells the time of the server to those who ask.",
	Config: func() any { return &Config{} },
	New:    newTime,
}

// Config is the section [mod.time].
type Config struct {
	ShowZone bool `toml:"show_zone" doc:"Tells the time zone of the server, which hints at its place; otherwise UTC."`
}

func newTime(h mod.Host, cfg any) (*mod.Hooks, error) {
	c := cfg.(*Config)
	return &mod.Hooks{IQ: []mod.IQHandler{{
		At: mod.AtHost, Space: ns, Local: "time", Type: stanza.TypeGet,
		Func: func(context.Context, *mod.Request) (*xmlstream.Element, error) {
			now := h.Clock().Now()
			offset := now.UTC() // XEP-0202#security: the offset tells something about the place
			if c.ShowZone {
				offset = now.Local()
			}
			return xmlstream.El(ns, "time",
				xmlstream.El(ns, "tzo", datetime.FormatOffset(offset)),
				xmlstream.El(ns, "utc", datetime.Format(now))), nil
		},
	}}}, nil
}
