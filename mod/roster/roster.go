// Package roster owns the rosters of accounts and the presence subscriptions in them (RFC 6121 §2, §3): roster get, set
// and push with versioning (§2.6), the nine states of a subscription (appendix A), requests kept until they are answered
// (§3.1.3), and pre-approval (§3.4).
//
// The changes of one roster come one after the other: each is durable before its pushes and stanzas leave.
package roster

import (
	"context"
	"embed"
	"errors"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// Namespaces of RFC 6121.
const (
	ns            = "jabber:iq:roster"
	nsVersioning  = "urn:xmpp:features:rosterver"
	nsPreApproval = "urn:xmpp:features:pre-approval"
)

//go:embed schema/*.sql
var schema embed.FS

// Info describes the extension.
var Info = mod.Info{
	Name:   "roster",
	Specs:  []string{"RFC 6121 §2", "RFC 6121 §3", "XEP-0237 1.3"},
	Doc:    "Keeps the contact lists of accounts and who may see whose presence.",
	Config: func() any { return &Config{MaxItems: 1000, MaxGroups: 50, MaxText: 1023, MaxRequests: 1000} },
	Schema: schema,
	New:    func(h mod.Host, cfg any) (*mod.Hooks, error) { return newExtension(h, cfg.(*Config)).hooks(), nil },
}

// Config is the section [mod.roster].
type Config struct {
	MaxItems    int `toml:"max_items" doc:"Contacts that an account may have in its roster."`
	MaxGroups   int `toml:"max_groups" doc:"Groups that one contact may be in."`
	MaxText     int `toml:"max_text" doc:"Length in bytes of a contact's name or of a group's."`
	MaxRequests int `toml:"max_requests" doc:"Subscription requests that may wait for an account's answer."`
}

// Validate checks the settings.
func (c *Config) Validate() error {
	if c.MaxItems < 1 || c.MaxGroups < 1 || c.MaxText < 1 || c.MaxRequests < 1 {
		return errors.New("limits of the roster must be at least 1")
	}
	return nil
}

type extension struct {
	h   mod.Host
	cfg *Config
	store
}

var _ mod.Roster = (*extension)(nil)

func newExtension(h mod.Host, cfg *Config) *extension {
	x := &extension{h: h, cfg: cfg, store: store{db: h.DB(), clock: h.Clock()}}
	x.cache = newCache(x.now)
	return x
}

func (x *extension) hooks() *mod.Hooks {
	types := []string{stanza.TypeSubscribe, stanza.TypeSubscribed, stanza.TypeUnsubscribe, stanza.TypeUnsubscribed}
	return &mod.Hooks{
		IQ: []mod.IQHandler{
			{At: mod.AtOwn, Space: ns, Local: "query", Type: stanza.TypeGet, Func: x.get},
			// Others learn that a roster is not theirs (RFC 6121 §2.3.3), hence AtAccount.
			{At: mod.AtAccount, Space: ns, Local: "query", Type: stanza.TypeSet, Quiet: true, Func: x.set},
		},
		Presence: []mod.PresenceHandler{
			{Side: mod.Out, Types: types, Func: x.out},
			{Side: mod.Out, Types: types, Broadcast: true, Func: noAddress},
			{Side: mod.In, Types: types, Func: x.in},
		},
		StreamFeatures: []mod.StreamFeature{
			{Auth: true, Func: func() *xmlstream.Element { return xmlstream.El(nsVersioning, "ver") }},
			{Auth: true, Func: func() *xmlstream.Element { return xmlstream.El(nsPreApproval, "sub") }},
		},
		Rewrite:              []mod.RewriteHook{{When: mod.When{Side: mod.Out, Kinds: mod.Presences}, Func: x.forgetReminder}},
		Available:            x.available,
		BeforeAccountRemoved: x.farewell,
		AccountRemoved:       func(ctx context.Context, tx mod.Tx, a jid.JID) error { return x.forget(ctx, tx, a) },
		Roster:               x,
	}
}

// noAddress refuses a subscription stanza that names nobody (RFC 6121 §3.1.1).
func noAddress(context.Context, *mod.Pass) error {
	return stanza.Err(stanza.BadRequest, "a subscription stanza has an address")
}

// Contact returns an item of a roster. See mod.Roster.
func (x *extension) Contact(ctx context.Context, owner, contact jid.JID) (mod.Contact, bool, error) {
	l, err := x.items(ctx, owner)
	if err != nil {
		return mod.Contact{}, false, err
	}
	it, _ := l.find(contact)
	if !it.listed {
		return mod.Contact{}, false, nil
	}
	return it.contact(), true, nil
}

// Requests returns how many subscription requests wait for the owner's answer. See mod.Roster.
func (x *extension) Requests(ctx context.Context, owner jid.JID) (int, error) {
	l, err := x.items(ctx, owner)
	if err != nil {
		return 0, err
	}
	return l.requests, nil
}

// Contacts returns the whole roster. The slice is shared: it must not be changed.
func (x *extension) Contacts(ctx context.Context, owner jid.JID) ([]mod.Contact, error) {
	l, err := x.items(ctx, owner)
	if err != nil {
		return nil, err
	}
	return l.contacts(), nil
}
