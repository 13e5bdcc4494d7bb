package pubsub

import (
	"context"
	"errors"
	"fmt"

	engine "sabir/engine/pubsub"
	"sabir/mod"
	"sabir/xmpp/jid"
	wire "sabir/xmpp/payload/disco"
	"sabir/xmpp/payload/mam"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// Info describes the extension.
var Info = mod.Info{
	Name:    "pubsub",
	Specs:   []string{"XEP-0060 1.30.0", "XEP-0413 1.1.1", "XEP-0442 0.2.0", "XEP-0462 0.2.0", "XEP-0470 0.2.0", "XEP-0485 1.0.0", "XEP-0496 0.1.0", "XEP-0497 0.1.0", "XEP-0499 0.1.0"},
	Doc:     "A publish-subscribe service at a domain of its own.",
	Engines: []mod.Engine{{Name: engine.Module, Schema: engine.Schema}},
	Config: func() any {
		return &Config{Domain: "pubsub", Name: "Publish-subscribe", Create: "users", Items: 10_000, Payload: 128 << 10, Nodes: 1000, Subscriptions: 100_000, Stored: 256 << 20, Total: 1_000_000}
	},
	New: newPubsub,
}

// Config is the section [mod.pubsub].
type Config struct {
	Domain        string `toml:"domain" doc:"The domain of the service: a name without a dot is put before the domain of the host."`
	Name          string `toml:"name" doc:"The name of the service for people."`
	Create        string `toml:"create" enum:"users,anybody,nobody" doc:"Who may make nodes: users (of this host), anybody or nobody."`
	Items         int    `toml:"items" doc:"Items of a node, where max_items is max."`
	Payload       int    `toml:"payload" doc:"Bytes of the payload of an item."`
	Nodes         int    `toml:"nodes" doc:"Nodes that one address may make."`
	Subscriptions int    `toml:"subscriptions" doc:"Subscriptions of a node, affiliations, and items of those who attach something to one item (XEP-0470)."`
	Stored        int    `toml:"stored" doc:"Characters of the payloads in the nodes that one address has made."`
	Total         int    `toml:"total" doc:"Nodes of the service."`
	ServerInfo    bool   `toml:"server_info" doc:"Tell at the node serverinfo which domain is served and which others that agree to it have streams with it, for maps of the network, and let other servers name this one on theirs (XEP-0485)."`

	// Without are features that are not there, as service discovery names them: tests show by it what each is for.
	Without []string `toml:"-"`
}

// Validate checks that the limits are positive.
func (c *Config) Validate() error {
	if c.Items < 1 || c.Payload < 1 || c.Nodes < 1 || c.Subscriptions < 1 || c.Stored < 1 || c.Total < 1 {
		return fmt.Errorf("items, payload, nodes, subscriptions, stored and total are at least 1")
	}
	return nil
}

type pubsub struct {
	h    mod.Host
	c    *Config
	s    *engine.Service
	face *mod.Service
	// about is what the server tells of itself.
	about *serverInfo
}

func newPubsub(h mod.Host, cfg any) (*mod.Hooks, error) {
	c := cfg.(*Config)
	domain, err := mod.ServiceDomain(h.Domain(), c.Domain)
	if err != nil {
		return nil, err
	}
	p := &pubsub{h: h, c: c}
	p.s = engine.New(h, engine.Options{
		Domain:    domain,
		Limits:    engine.Limits{Items: c.Items, Payload: c.Payload, Nodes: c.Nodes, Subscriptions: c.Subscriptions, Stored: c.Stored, Total: c.Total},
		MayCreate: p.mayCreate,
		Without:   c.Without,
	})
	p.face = p.service(domain)
	p.about = newServerInfo(h, p.s)
	hooks := &mod.Hooks{
		Services:       []*mod.Service{p.face},
		Instance:       p,
		AccountRemoved: p.s.AccountRemoved,
		Start:          p.start,
		ContactChanged: func(account jid.JID, was, is mod.Contact) {
			h.Go("contact", func(ctx context.Context) {
				if err := p.s.ContactChanged(ctx, account, was, is, h.Clock().Now()); err != nil && ctx.Err() == nil {
					h.Log().Error("subscriptions of a contact were not looked at", "contact", is.JID.String(), "error", err)
				}
			})
		},
		Unbound: func(ctx context.Context, s mod.Session, _ *stanza.Stanza) {
			if len(h.Sessions(s.JID().Bare())) > 0 {
				return
			}
			if err := p.s.Offline(ctx, s.JID().Bare()); err != nil {
				h.Log().Error("items of somebody who went offline were not deleted", "error", err)
			}
		},
	}
	if c.ServerInfo {
		hooks.Features = []mod.Feature{{At: mod.AtHost, Var: nsServerInfo}}
		hooks.Forms = p.about.forms(domain)
	}
	return hooks, nil
}

func (p *pubsub) mayCreate(who jid.JID) bool {
	return who == p.h.Domain() || p.c.Create == "anybody" || p.c.Create == "users" && who.DomainJID() == p.h.Domain()
}

func (p *pubsub) start(ctx context.Context) error {
	if p.c.ServerInfo {
		p.about.refresh(ctx)
		p.h.Go("serverinfo", p.about.run)
	} else if err := p.about.withdraw(ctx); err != nil && !errors.As(err, new(*stanza.Error)) { // the node may be that of a user
		return err
	}
	return p.s.Start(ctx)
}

// nsCommands qualifies ad-hoc commands (XEP-0050).
const nsCommands = "http://jabber.org/protocol/commands"

func (p *pubsub) service(domain jid.JID) *mod.Service {
	at := func(space, local, typ string, f func(ctx context.Context, r *mod.Request) (*xmlstream.Element, error)) mod.IQHandler {
		return mod.IQHandler{At: mod.AtHost, Space: space, Local: local, Type: typ, Func: f}
	}
	v := &mod.Service{
		Domain: domain,
		IQ: append(p.s.Handlers(mod.AtHost),
			at(wire.NSInfo, "query", stanza.TypeGet, p.info), at(wire.NSItems, "query", stanza.TypeGet, p.items)),
		Identities: []mod.IdentityAt{{At: mod.AtHost, Identity: mod.Identity{Category: "pubsub", Type: "service", Name: p.c.Name}}},
		Message:    p.message,
		Presence:   func(context.Context, *stanza.Stanza) error { return nil }, // it follows nobody and is followed by nobody
	}
	commands := at(nsCommands, "command", stanza.TypeSet, p.command)
	commands.Quiet = !p.s.Has(pendingNode) // without the one command that there is, it says so (XEP-0060#owner-subreq-error-getpending)
	v.IQ = append(v.IQ, commands)
	if p.s.Has(mam.NS) {
		v.IQ = append(v.IQ, at(mam.NS, "query", stanza.TypeSet, p.s.Archive), at(mam.NS, "query", stanza.TypeGet, archiveForm))
	}
	for _, f := range p.s.Features() {
		v.Features = append(v.Features, mod.Feature{At: mod.AtHost, Var: f})
	}
	return v
}

// archiveForm tells which fields a query for the archive of a node may have (XEP-0313#query-form).
func archiveForm(context.Context, *mod.Request) (*xmlstream.Element, error) {
	return mam.Form(false), nil
}

func (p *pubsub) info(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	switch node := r.Payload.Attr("node"); {
	case node == "":
		return p.face.Disco(mod.AtHost).Info("").Element(), nil
	case node == pendingNode && p.s.Has(pendingNode):
		return pendingInfo().Info(node).Element(), nil
	default:
		d, err := p.s.Info(ctx, p.face.Domain, r.From, node)
		if err == nil && d == nil {
			err = stanza.Err(stanza.ItemNotFound, "")
		}
		if err != nil {
			return nil, err
		}
		return d.Info(node).Element(), nil
	}
}

func (p *pubsub) items(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	out := &wire.Items{Node: r.Payload.Attr("node")}
	var list []mod.DiscoItem
	switch {
	case out.Node == "":
		list, set, err := p.s.Listing(ctx, p.face.Domain, r.From, r.Payload)
		if err != nil {
			return nil, err
		}
		return answer(out, list, set), nil
	case out.Node == nsCommands && p.s.Has(pendingNode):
		list = []mod.DiscoItem{{JID: p.face.Domain, Node: pendingNode, Name: pendingName}}
	default:
		var ok bool
		var err error
		if list, ok, err = p.s.Discover(ctx, p.face.Domain, r.From, r.Payload); ok || err != nil {
			if err != nil {
				return nil, err
			}
			break
		}
		if list, ok, err = p.s.Items(ctx, p.face.Domain, r.From, out.Node); err == nil && !ok {
			err = stanza.Err(stanza.ItemNotFound, "")
		}
		if err != nil {
			return nil, err
		}
	}
	list, set, err := mod.PageItems(r.Payload, list)
	if err != nil {
		return nil, err
	}
	return answer(out, list, set), nil
}

// answer fills a page in.
func answer(out *wire.Items, list []mod.DiscoItem, set *xmlstream.Element) *xmlstream.Element {
	for _, i := range list {
		out.Items = append(out.Items, wire.Item(i))
	}
	out.Page = set
	return out.Element()
}

// message takes what owners decide, and the errors that notifications meet.
func (p *pubsub) message(ctx context.Context, m *stanza.Stanza) (func(context.Context) error, error) {
	switch m.Type {
	case stanza.TypeError:
		return nil, p.s.Bounced(ctx, p.face.Domain, m)
	case stanza.TypeHeadline:
		return nil, nil
	}
	ok, err := p.s.Message(ctx, p.face.Domain, m)
	if err == nil && !ok {
		err = stanza.Err(stanza.ServiceUnavailable, "nobody reads messages here")
	}
	return nil, err
}
