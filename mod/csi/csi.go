package csi

import (
	"context"

	"sabir/engine/urgency"
	"sabir/mod"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

const ns = "urn:xmpp:csi:0"

// Info describes the extension.
var Info = mod.Info{
	Name:   "csi",
	Specs:  []string{"XEP-0352 1.0.0"},
	Doc:    "Spares phones whose users do not look at them what is not urgent.",
	Config: func() any { return &Config{Presence: true, ChatStates: true, Others: true} },
	New:    newCSI,
}

// Config is the section [mod.csi].
type Config struct {
	Presence   bool `toml:"presence" doc:"Hold back presence from inactive clients; of each contact's resource the newest is sent later."`
	ChatStates bool `toml:"chat_states" doc:"Hold back notices that somebody is typing."`
	Others     bool `toml:"others" doc:"Hold back receipts, markers of what was read, and events of publish-subscribe."`
}

func newCSI(_ mod.Host, cfg any) (*mod.Hooks, error) {
	judge := cfg.(*Config).judge
	set := func(_ context.Context, s mod.Session, e *xmlstream.Element) {
		if e.Name.Local == "inactive" {
			s.HoldBack(judge)
		} else {
			s.HoldBack(nil)
		}
	}
	// XEP-0352#indication; a second of the same kind changes nothing.
	return &mod.Hooks{
		Nonzas: []mod.Nonza{{Space: ns, Local: "active", Func: set}, {Space: ns, Local: "inactive", Func: set}},
		StreamFeatures: []mod.StreamFeature{ // XEP-0352#discovery
			{Auth: true, Func: func() *xmlstream.Element { return xmlstream.El(ns, "csi") }},
		},
		Inline: []mod.Inline{{Var: ns, Requests: []xmlstream.Name{{Space: ns, Local: "active"}, {Space: ns, Local: "inactive"}},
			Func: func(ctx context.Context, s mod.Session, e *xmlstream.Element) *xmlstream.Element {
				set(ctx, s, e)
				return nil
			}}},
	}, nil
}

// judge says how urgent a stanza is for a client that is inactive.
func (c *Config) judge(s *stanza.Stanza) (mod.Urgency, uint8) {
	class, key := urgency.Of(s)
	switch {
	case class == urgency.State && key == urgency.Presence && c.Presence, class == urgency.State && key == urgency.ChatState && c.ChatStates:
		return mod.Replaceable, uint8(key)
	case class == urgency.Later && c.Others:
		return mod.Patient, 0
	}
	return mod.Urgent, 0
}
