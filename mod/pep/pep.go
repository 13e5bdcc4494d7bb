package pep

import (
	"context"
	"fmt"

	engine "sabir/engine/pubsub"
	"sabir/engine/vcard"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/bookmark"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// Info describes the extension.
var Info = mod.Info{
	Name:    "pep",
	Specs:   []string{"XEP-0163 1.2.2", "XEP-0060 1.30.0", "XEP-0398 1.0.0", "XEP-0402 1.2.0", "XEP-0411 1.1.0", "XEP-0442 0.2.0", "XEP-0462 0.2.0", "XEP-0490 1.0.1", "XEP-0470 0.2.0", "XEP-0496 0.1.0", "XEP-0497 0.1.0", "XEP-0499 0.1.0"},
	Doc:     "Makes every account a publish-subscribe service: avatars, bookmarks, keys, moods and what else clients keep and share there.",
	Engines: []mod.Engine{{Name: engine.Module, Schema: engine.Schema}, {Name: vcard.Module, Schema: vcard.Schema}},
	Config: func() any {
		return &Config{Items: 1000, Payload: 192 << 10, Nodes: 500, Subscriptions: 10_000, Stored: 32 << 20}
	},
	New: newPEP,
}

// Config is the section [mod.pep].
type Config struct {
	Items         int `toml:"items" doc:"Items of a node, where max_items is max."`
	Payload       int `toml:"payload" doc:"Bytes of the payload of an item."`
	Nodes         int `toml:"nodes" doc:"Nodes of an account."`
	Subscriptions int `toml:"subscriptions" doc:"Subscriptions of a node, besides the contacts that need none; affiliations, and items of those who attach something to one item (XEP-0470)."`
	Stored        int `toml:"stored" doc:"Characters of the payloads of all nodes of an account."`

	// Without are features that are not there, as service discovery names them: tests show by it what each is for.
	Without []string `toml:"-"`
}

// Validate checks that the limits are positive.
func (c *Config) Validate() error {
	if c.Items < 1 || c.Payload < 1 || c.Nodes < 1 || c.Subscriptions < 1 || c.Stored < 1 {
		return fmt.Errorf("items, payload, nodes, subscriptions and stored are at least 1")
	}
	return nil
}

// The features by which an account tells what its server does with some of its nodes.
const (
	vcardConversion    = "urn:xmpp:pep-vcard-conversion:0" // XEP-0398#disco
	bookmarksCompat    = bookmark.NSItems + "#compat"      // XEP-0402#compatibility: with private storage
	bookmarksCompatPEP = bookmark.NSItems + "#compat-pep"  // with one item for all
	displayedAssist    = "urn:xmpp:mds:server-assist:0"    // XEP-0490#interaction
)

var conversions = []string{vcardConversion, bookmark.Conversion, bookmarksCompat, bookmarksCompatPEP, displayedAssist}

// told is the flag of a session with what its client announced when it got the last items.
const told = "pep.told"

type pep struct {
	h       mod.Host
	s       *engine.Service
	avatars avatars
}

func newPEP(h mod.Host, cfg any) (*mod.Hooks, error) {
	c := cfg.(*Config)
	p := &pep{h: h}
	p.s = engine.New(h, engine.Options{PEP: true, Follow: p.follow, Lapsed: p.lapsed, Without: c.Without, Limits: engine.Limits{
		Items: c.Items, Payload: c.Payload, Nodes: c.Nodes, Subscriptions: c.Subscriptions, Stored: c.Stored,
	}})
	hooks := &mod.Hooks{
		IQ: p.s.Handlers(mod.AtAccount),
		// The account says so by XEP-0163#support-owner.
		// COMPAT Psi and Psi+ 1.4, 2026-11: they ask the server, as ejabberd answers, and publish nothing where it does not say so.
		Identities:     []mod.IdentityAt{{At: mod.AtHost | mod.AtAccount, Identity: mod.Identity{Category: "pubsub", Type: "pep"}}},
		AccountNodes:   p,
		ContactChanged: p.contactChanged,
		Available:      p.available,
		Unbound:        p.unbound,
		Observe:        []mod.ObserveHook{{When: mod.When{Side: mod.In, Kinds: mod.Presences}, Func: p.observe}},
		Admit: []mod.AdmitHook{
			{When: mod.When{Side: mod.Out, Kinds: mod.Messages}, Func: p.decision},
			{When: mod.When{Side: mod.In, Kinds: mod.Messages}, Func: p.failed},
		},
		Rewrite: []mod.RewriteHook{
			{When: mod.When{Side: mod.Out, Kinds: mod.Messages}, Func: p.assist},
			{When: mod.When{Side: mod.Out, Kinds: mod.Presences}, Func: p.stamp},
		},
		AccountRemoved: p.accountRemoved,
		Start:          p.s.Start,
	}
	for _, f := range append(p.s.Features(), conversions...) {
		if p.s.Has(f) {
			hooks.Features = append(hooks.Features, mod.Feature{At: mod.AtAccount, Var: f})
		}
	}
	return hooks, nil
}

// available sends a client the last items that it wants: when it comes online, and when it announces something new
// (XEP-0163#notify-last).
func (p *pep) available(ctx context.Context, s mod.Session, initial bool) {
	now := s.Presence()
	if now == nil {
		return
	}
	if !initial && p.asBefore(s, now) {
		return
	}
	announced := ""
	if a := engine.Announcement(now); a != nil {
		announced = string(a.Append(nil, stanza.NSClient))
	}
	s.SetFlag(told, announced)
	p.h.Capabilities().Learn(ctx, s.JID().Bare(), now, func(features []string) {
		since := p.h.Clock().Now()
		p.later("sending last items", s.JID(), func(ctx context.Context) error { return p.s.Online(ctx, s.JID(), features, since) })
	})
}

// later does something in its own time, since nobody waits for it.
func (p *pep) later(what string, who jid.JID, f func(ctx context.Context) error) {
	p.h.Go(what, func(ctx context.Context) {
		if err := f(ctx); err != nil && ctx.Err() == nil { // at the end of the server it is left undone
			p.h.Log().Error(what+" failed", "for", who.String(), "error", err)
		}
	})
}

// asBefore tells whether a presence announces the same features as that by which the client got the last items.
func (p *pep) asBefore(s mod.Session, now *stanza.Stanza) bool {
	f, err := xmlstream.ParseFrame(s.Flag(told), xmlstream.DefaultLimits)
	if err != nil {
		return false
	}
	was, bad := stanza.FromFrame(f)
	return was != nil && bad == nil && p.h.Capabilities().Same(was, now)
}

func (p *pep) unbound(ctx context.Context, s mod.Session, _ *stanza.Stanza) {
	account := s.JID().Bare()
	if len(p.h.Sessions(account)) > 0 {
		return
	}
	if err := p.s.Offline(ctx, account); err != nil {
		p.h.Log().Error("items of an account that went offline were not deleted", "error", err)
	}
}

// decision takes the answer of an owner to a request for a subscription to one of its nodes
// (XEP-0060#owner-subreq-process). It is for the service, which is the account itself, and for no client.
func (p *pep) decision(ctx context.Context, pass *mod.Pass) error {
	if pass.Stanza.To != pass.Account {
		return nil
	}
	ok, err := p.s.Message(ctx, pass.Account, pass.Stanza)
	if err == nil && ok {
		err = mod.Drop{Why: "the answer to a subscription request"}
	}
	return err
}

func (p *pep) accountRemoved(ctx context.Context, tx mod.Tx, account jid.JID) error {
	if err := vcard.Put(ctx, tx, account, nil); err != nil {
		return err
	}
	if err := vcard.DeleteHash(ctx, tx, account); err != nil {
		return err
	}
	return p.s.AccountRemoved(ctx, tx, account)
}

// Item implements mod.AccountNodes.
func (p *pep) Item(ctx context.Context, account jid.JID, node, id string) (string, *xmlstream.Element, error) {
	return p.s.Item(ctx, account, node, id)
}

// MayRead implements mod.AccountNodes.
func (p *pep) MayRead(ctx context.Context, account, who jid.JID, node string) (bool, error) {
	return p.s.MayRead(ctx, account, who, node)
}

// Discover implements mod.AccountNodes.
func (p *pep) Discover(ctx context.Context, account, who jid.JID, query *xmlstream.Element) ([]mod.DiscoItem, bool, error) {
	return p.s.Discover(ctx, account, who, query)
}

// Archive implements mod.AccountNodes.
func (p *pep) Archive(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	return p.s.Archive(ctx, r)
}

// Change implements mod.AccountNodes.
func (p *pep) Change(ctx context.Context, account jid.JID, changes []mod.NodeChange, write func(tx mod.Tx) error) error {
	return p.s.Change(ctx, account, changes, write)
}

// Update implements mod.AccountNodes.
func (p *pep) Update(ctx context.Context, account jid.JID, plan func(context.Context) ([]mod.NodeChange, func(mod.Tx) error, error)) error {
	return p.s.Update(ctx, account, plan)
}

// NodeInfo implements mod.AccountNodes.
func (p *pep) NodeInfo(ctx context.Context, account, who jid.JID, node string) (*mod.Disco, error) {
	return p.s.Info(ctx, account, who, node)
}

// Nodes implements mod.AccountNodes.
func (p *pep) Nodes(ctx context.Context, account, who jid.JID, query *xmlstream.Element) ([]mod.DiscoItem, error) {
	f, err := p.s.ParseFilter(query)
	if err != nil {
		return nil, err
	}
	return p.s.Nodes(ctx, account, who, f)
}

// NodeItems implements mod.AccountNodes.
func (p *pep) NodeItems(ctx context.Context, account, who jid.JID, node string) ([]mod.DiscoItem, bool, error) {
	return p.s.Items(ctx, account, who, node)
}
