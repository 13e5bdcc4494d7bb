package carbons

import (
	"context"
	"fmt"
	"slices"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/forward"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

const (
	ns      = "urn:xmpp:carbons:2"
	nsRules = "urn:xmpp:carbons:rules:0"
)

// Info describes the extension.
var Info = mod.Info{
	Name:   "carbons",
	Specs:  []string{"XEP-0280 1.0.1", "XEP-0297 1.0"},
	Doc:    "Copies the messages that one device of a user sends or gets to the others.",
	Config: func() any { return &Config{Errors: 50_000} },
	New:    newCarbons,
}

// Config is the section [mod.carbons].
type Config struct {
	Errors int `toml:"errors" doc:"Messages remembered in memory, so that an error that answers one of them is copied as well."`
}

// Validate checks that the limit is not negative.
func (c *Config) Validate() error {
	if c.Errors < 0 {
		return fmt.Errorf("errors is at least 0")
	}
	return nil
}

// enabled is the flag of a session whose client gets copies. It lives as long as the session does.
const enabled = mod.FlagCarbons

type carbons struct {
	h      mod.Host
	copied *memory
}

func newCarbons(h mod.Host, cfg any) (*mod.Hooks, error) {
	c := &carbons{h, newMemory(cfg.(*Config).Errors)}
	both := mod.When{Side: mod.Out | mod.In, Kinds: mod.Messages}
	return &mod.Hooks{
		IQ: []mod.IQHandler{
			{At: mod.AtOwn, Space: ns, Local: "enable", Type: stanza.TypeSet, Quiet: true, Func: set("1")},
			{At: mod.AtOwn, Space: ns, Local: "disable", Type: stanza.TypeSet, Quiet: true, Func: set("")},
			// XEP-0280#enabling-errors, the same for accounts that do not exist.
			{At: mod.AtHost | mod.AtAccount, Space: ns, Local: "enable", Type: stanza.TypeSet, Quiet: true, Unknown: true, Func: notAllowed},
			{At: mod.AtHost | mod.AtAccount, Space: ns, Local: "disable", Type: stanza.TypeSet, Quiet: true, Unknown: true, Func: notAllowed},
		},
		Admit: []mod.AdmitHook{{When: both, Func: refuseForged}},
		Fork:  []mod.ForkHook{{When: both, Func: c.fork}},
		// XEP-0386#bind-request: enabling in the bind has no answer, since it does not fail.
		Inline: []mod.Inline{{Var: ns, Requests: []xmlstream.Name{{Space: ns, Local: "enable"}},
			Func: func(_ context.Context, s mod.Session, _ *xmlstream.Element) *xmlstream.Element {
				s.SetFlag(enabled, "1")
				return nil
			}}},
		Features: []mod.Feature{{At: mod.AtHost, Var: ns}, {At: mod.AtHost, Var: nsRules}}, // XEP-0280#disco, #mandatory-support
	}, nil
}

// set returns the handler that sets the flag. Any number of requests in any order is right (XEP-0280#bizrules-multi).
func set(flag string) func(context.Context, *mod.Request) (*xmlstream.Element, error) {
	return func(_ context.Context, r *mod.Request) (*xmlstream.Element, error) {
		if r.Session == nil {
			return nil, stanza.Err(stanza.NotAllowed, "copies are for clients of this server")
		}
		r.Session.SetFlag(enabled, flag)
		return nil, nil
	}
}

func notAllowed(context.Context, *mod.Request) (*xmlstream.Element, error) {
	return nil, stanza.Err(stanza.NotAllowed, "a client decides about copies for itself, at its own account")
}

// refuseForged refuses what looks like a copy. The server's own do not come this way.
func refuseForged(_ context.Context, p *mod.Pass) error {
	if !p.Stanza.Has(ns, "received") && !p.Stanza.Has(ns, "sent") {
		return nil
	}
	if p.Stanza.Type == stanza.TypeError { // a client bounced a copy: nobody is told (XEP-0280#bizrules-errors)
		return mod.Drop{Why: "an error that answers a carbon copy"}
	}
	return stanza.Err(stanza.Forbidden, "only a user's own server makes carbon copies")
}

// fork makes the copies of a message for one side of it.
func (c *carbons) fork(_ context.Context, p *mod.Pass) []mod.Copy {
	s := p.Stanza
	to := s.To
	if to.IsZero() { // RFC 6120 §10.3.1
		to = p.Account
	}
	all := c.h.Sessions(p.Account)
	if !slices.ContainsFunc(all, func(t mod.Session) bool { return t.JID() != s.From && t.Flag(enabled) != "" }) {
		return nil
	}
	if !c.eligible(p, to) {
		return nil
	}
	if s.Type != stanza.TypeError {
		c.copied.add(s.From.Bare(), to.Bare(), s.ID)
	}
	if p.Side == mod.Out && to.Bare() == p.Account { // the side In of the same account sees to it, which knows who has got it
		return nil
	}
	return c.copies(p, to, all)
}

// copies wraps the message for the sessions that want a copy and did not get the message. They share one encoding.
func (c *carbons) copies(p *mod.Pass, to jid.JID, all []mod.Session) []mod.Copy {
	var m *stanza.Stanza
	var out []mod.Copy
	nicks := occupants(p, to)
	for _, t := range all {
		if t.Flag(enabled) == "" || t.JID() == p.Stanza.From || slices.Contains(p.Targets, t) || !shares(t, nicks) {
			continue
		}
		if m == nil {
			if m = c.wrap(p, to); m == nil {
				return nil
			}
		}
		out = append(out, mod.Copy{To: t, Stanza: m.WithTo(t.JID())})
	}
	return out
}

// wrap returns the copy without `to` (XEP-0280#inbound, #outbound), or nil where the message cannot be wrapped.
func (c *carbons) wrap(p *mod.Pass, to jid.JID) *stanza.Stanza {
	s := p.Stanza
	if s.To.IsZero() {
		s = s.WithTo(to) // or the copy would not tell whom it was to
	}
	name := xmlstream.Name{Space: ns, Local: "received"}
	if p.Side == mod.Out {
		name.Local = "sent"
	}
	m, err := forward.Forwarded{Stanza: s}.Message(s.Type, p.Account, name)
	if err != nil {
		c.h.Log().Error("a message cannot be copied", "error", err)
		return nil
	}
	m.Wire() // WithTo shares what is there
	return m
}
