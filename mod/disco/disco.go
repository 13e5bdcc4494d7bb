package disco

import (
	"context"
	"strings"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/dataform"
	wire "sabir/xmpp/payload/disco"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// serverInfo is the FORM_TYPE of the contact addresses (XEP-0157#registrar-formtype).
const serverInfo = "http://jabber.org/network/serverinfo"

// Info describes the extension.
var Info = mod.Info{
	Name:   "disco",
	Specs:  []string{"XEP-0030 2.5.0", "XEP-0128 1.0.1", "XEP-0157 1.1.1"},
	Doc:    "Tells clients and other servers what this server and its accounts are and can do.",
	Config: func() any { return &Config{Name: "Sabir"} },
	New:    newDisco,
}

// Config is the section [mod.disco].
type Config struct {
	Name     string   `toml:"name" doc:"The name of this server for people."`
	Abuse    []string `toml:"abuse" doc:"Addresses to report abuse to, as URIs: mailto:abuse@example.org or xmpp:abuse@example.org."`
	Admin    []string `toml:"admin" doc:"Addresses of the administrators, as URIs."`
	Feedback []string `toml:"feedback" doc:"Addresses for feedback, as URIs."`
	Sales    []string `toml:"sales" doc:"Addresses for sales, as URIs."`
	Security []string `toml:"security" doc:"Addresses to report security problems to, as URIs."`
	Status   []string `toml:"status" doc:"Addresses that tell whether the service works, as URIs."`
	Support  []string `toml:"support" doc:"Addresses for help, as URIs."`
}

// Validate checks that the addresses are URIs (XEP-0157#xmpp).
func (c *Config) Validate() error {
	for _, a := range c.addresses() {
		for _, u := range a.uris {
			if err := checkURI(u); err != nil {
				return err
			}
		}
	}
	return nil
}

type disco struct {
	h mod.Host
	c *Config
}

func newDisco(h mod.Host, cfg any) (*mod.Hooks, error) {
	d := &disco{h, cfg.(*Config)}
	return &mod.Hooks{
		IQ: []mod.IQHandler{
			{At: mod.AtHost | mod.AtAccount, Space: wire.NSInfo, Local: "query", Type: stanza.TypeGet, Unknown: true, Func: d.info},
			{At: mod.AtHost | mod.AtAccount, Space: wire.NSItems, Local: "query", Type: stanza.TypeGet, Unknown: true, Func: d.items},
		},
		Identities: []mod.IdentityAt{
			{At: mod.AtHost, Identity: mod.Identity{Category: "server", Type: "im", Name: d.c.Name}},
			{At: mod.AtAccount, Identity: mod.Identity{Category: "account", Type: "registered"}}, // XEP-0030#info-basic
		},
		Forms: d.forms,
	}, nil
}

func (d *disco) info(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	node := r.Payload.Attr("node")
	at := mod.AtHost
	if !r.Account.IsZero() {
		at = mod.AtAccount
		if nodes := d.h.AccountNodes(); nodes != nil && node != "" {
			n, err := nodes.NodeInfo(ctx, r.Account, r.From, node)
			if err != nil {
				return nil, err
			}
			if n != nil {
				return n.Info(node).Element(), nil
			}
		}
		// XEP-0030#security: the same for an account that does not exist and for those who may not see presence.
		if ok, err := mod.SeesPresence(ctx, d.h.Roster(), r.Account, r.From); err != nil {
			return nil, err
		} else if !ok {
			return nil, stanza.Err(stanza.ServiceUnavailable, "")
		}
	}
	if hosts(r) && node != "" {
		n, err := d.h.HostNodes().NodeInfo(ctx, r.From, node)
		if err != nil {
			return nil, err
		}
		if n != nil {
			return n.Info(node).Element(), nil
		}
	}
	info := d.h.Disco(at).Info(node) // XEP-0030#info-nodes: the answer mirrors the node
	if node != "" && !capsNode(node, info) {
		return nil, stanza.Err(stanza.ItemNotFound, "no such node")
	}
	return info.Element(), nil
}

// hosts tells whether the nodes of the host are to be found at an address: at its domain, and for a user at the own account, where
// clients look for commands too.
func hosts(r *mod.Request) bool { return r.Account.IsZero() || r.Account == r.From.Bare() }

// capsNode tells whether node names exactly this information by its hash, as it does when somebody asks for the
// capabilities that the host announced (XEP-0115#discover, XEP-0390#algorithm-hashnodes). What stands before the hash of
// XEP-0115 does not matter.
func capsNode(node string, info *wire.Info) bool {
	uri, hash, ok := strings.Cut(node, "#")
	if !ok || uri == "" {
		return false
	}
	if uri != wire.NSCaps2 {
		return wire.Caps{Node: uri, Algo: "sha-1", Hash: hash}.Verify(info)
	}
	i := strings.LastIndexByte(hash, '.')
	return i > 0 && wire.Caps{Algo: hash[:i], Hash: hash[i+1:]}.Verify(info)
}

func (d *disco) items(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	node := r.Payload.Attr("node")
	items := &wire.Items{Node: node}
	if r.Account.IsZero() {
		if node != "" {
			list, ok, err := d.h.HostNodes().NodeItems(ctx, r.From, node)
			if err == nil && !ok {
				err = stanza.Err(stanza.ItemNotFound, "no such node")
			}
			if err != nil {
				return nil, err
			}
			return appendItems(items, list).Element(), nil
		}
		return appendItems(items, d.h.Disco(mod.AtHost).Items).Element(), nil
	}
	return d.accountItems(ctx, r, items)
}

// accountItems are the resources of an account, for those who may see its presence, and its nodes.
func (d *disco) accountItems(ctx context.Context, r *mod.Request, items *wire.Items) (*xmlstream.Element, error) {
	nodes := d.h.AccountNodes()
	if items.Node != "" && nodes != nil {
		list, ok, err := nodes.Discover(ctx, r.Account, r.From, r.Payload)
		if err == nil && !ok {
			list, ok, err = nodes.NodeItems(ctx, r.Account, r.From, items.Node)
		}
		if err != nil {
			return nil, err
		}
		if ok {
			if list, items.Page, err = mod.PageItems(r.Payload, list); err != nil {
				return nil, err
			}
			return appendItems(items, list).Element(), nil
		}
	}
	if items.Node != "" && hosts(r) {
		list, ok, err := d.h.HostNodes().NodeItems(ctx, r.From, items.Node)
		if err != nil {
			return nil, err
		}
		if ok {
			return appendItems(items, list).Element(), nil
		}
	}
	ok, err := mod.SeesPresence(ctx, d.h.Roster(), r.Account, r.From)
	switch {
	case err != nil:
		return nil, err
	case ok && items.Node != "":
		return nil, stanza.Err(stanza.ItemNotFound, "no such node")
	case items.Node != "":
		// XEP-0030#security: an empty list for strangers and for an account that does not exist, with a node or without.
		return items.Element(), nil
	}
	var list []mod.DiscoItem
	if ok {
		list = d.resources(r.Account, r.From)
	}
	if nodes != nil {
		more, err := nodes.Nodes(ctx, r.Account, r.From, r.Payload)
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
	if list, items.Page, err = mod.PageItems(r.Payload, list); err != nil {
		return nil, err
	}
	return appendItems(items, list).Element(), nil
}

func appendItems(to *wire.Items, list []mod.DiscoItem) *wire.Items {
	for _, i := range list {
		to.Items = append(to.Items, wire.Item(i))
	}
	return to
}

// resources are the available resources of an account; its owner sees those without presence too (XEP-0030#items-basic).
func (d *disco) resources(account, who jid.JID) (all []mod.DiscoItem) {
	for _, s := range d.h.Sessions(account) {
		if who.Bare() == account || s.Presence() != nil {
			all = append(all, mod.DiscoItem{JID: s.JID()})
		}
	}
	return all
}

// forms returns the contact addresses (XEP-0157#xmpp).
func (d *disco) forms(at mod.Where) []*xmlstream.Element {
	if at&mod.AtHost == 0 {
		return nil
	}
	f := dataform.New(dataform.TypeResult, serverInfo)
	for _, a := range d.c.addresses() {
		if len(a.uris) > 0 {
			f.Fields = append(f.Fields, dataform.Field{Var: a.kind + "-addresses", Type: dataform.ListMulti, Values: a.uris})
		}
	}
	if len(f.Fields) == 1 {
		return nil
	}
	return []*xmlstream.Element{f.Element()}
}
