package blocking

import (
	"cmp"
	"context"
	"embed"
	"fmt"
	"maps"
	"slices"
	"sync"

	"sabir/engine/lru"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

const (
	ns       = "urn:xmpp:blocking"
	nsErrors = "urn:xmpp:blocking:errors"
)

//go:embed schema
var schema embed.FS

// Info describes the extension.
var Info = mod.Info{
	Name:   "blocking",
	Specs:  []string{"XEP-0191 1.3"},
	Doc:    "Lets users block other users and whole servers.",
	Config: func() any { return &Config{Items: 1000, Cache: 50000} },
	Schema: schema,
	New:    newBlocking,
}

// Config is the section [mod.blocking].
type Config struct {
	Items int `toml:"items" doc:"Addresses that one account can block."`
	Cache int `toml:"cache" doc:"Accounts whose lists are kept in memory."`
}

// Validate checks that the limits are positive.
func (c *Config) Validate() error {
	if c.Items < 1 || c.Cache < 1 {
		return fmt.Errorf("items and cache are at least 1")
	}
	return nil
}

// wantsPushes is the flag of a session that has asked for the list (XEP-0191#block).
const wantsPushes = "blocking.pushes"

// errLimit is returned for a list that would become too long.
var errLimit = stanza.Err(stanza.ResourceConstraint, "the block list is full").OfType(stanza.Cancel)

type blocking struct {
	h     mod.Host
	c     *Config
	lists lists
	mu    sync.Mutex // one change at a time: what a change sends must fit what it found
}

func newBlocking(h mod.Host, cfg any) (*mod.Hooks, error) {
	c := cfg.(*Config)
	b := &blocking{h: h, c: c, lists: lists{db: h.DB(), cache: lru.New[jid.JID, set](c.Cache)}}
	return &mod.Hooks{
		IQ: []mod.IQHandler{
			{At: mod.AtOwn, Space: ns, Local: "blocklist", Type: stanza.TypeGet, Func: b.list},
			{At: mod.AtOwn, Space: ns, Local: "block", Type: stanza.TypeSet, Func: b.block},
			{At: mod.AtOwn, Space: ns, Local: "unblock", Type: stanza.TypeSet, Func: b.unblock},
		},
		Features: []mod.Feature{{At: mod.AtHost, Var: ns}}, // XEP-0191#disco: asked at the server
		Admit: []mod.AdmitHook{
			{When: mod.When{Side: mod.In, Kinds: mod.AllKinds}, Func: b.admitIn},
			{When: mod.When{Side: mod.Out, Kinds: mod.AllKinds}, Func: b.admitOut},
		},
		AccountRemoved: func(ctx context.Context, tx mod.Tx, account jid.JID) error {
			b.lists.forget(account)
			return b.lists.clear(ctx, tx, account)
		},
	}, nil
}

// blocked tells whether account has blocked peer.
func (b *blocking) blocked(ctx context.Context, account, peer jid.JID) (bool, error) {
	if account.Local() == "" || peer.IsZero() || peer.Bare() == account || peer == b.h.Domain() {
		return false, nil
	}
	s, err := b.lists.of(ctx, account)
	return s.blocks(peer), err
}

// admitIn handles what a blocked address sends to the user (XEP-0191#block).
func (b *blocking) admitIn(ctx context.Context, p *mod.Pass) error {
	ok, err := b.blocked(ctx, p.Account, p.Stanza.From)
	if !ok || err != nil {
		return err
	}
	s := p.Stanza
	switch {
	case s.Kind == stanza.Presence, s.Type == stanza.TypeError, s.Kind == stanza.IQ && !s.Request():
		return mod.Drop{Why: "blocked by its recipient"}
	case s.Type == stanza.TypeGroupchat:
		// The text asks for an error, which a room would take for the end of the user's stay (XEP-0045): who blocks one
		// occupant would leave the room.
		return mod.Drop{Why: "blocked by its recipient"}
	}
	return stanza.Err(stanza.ServiceUnavailable, "")
}

// admitOut handles what the user, or the server on the user's behalf, sends to a blocked address (XEP-0191#block).
func (b *blocking) admitOut(ctx context.Context, p *mod.Pass) error {
	ok, err := b.blocked(ctx, p.Account, p.Stanza.To)
	if !ok || err != nil {
		return err
	}
	if p.Session == nil {
		return mod.Drop{Why: "its recipient is blocked by the user"}
	}
	return stanza.Err(stanza.NotAcceptable, "you have blocked this address").OfType(stanza.Cancel).With(xmlstream.El(nsErrors, "blocked"))
}

// list answers with the block list (XEP-0191#blocklist).
func (b *blocking) list(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	s, err := b.lists.of(ctx, r.Account)
	if err != nil {
		return nil, err
	}
	if r.Session != nil {
		r.Session.SetFlag(wantsPushes, "1")
	}
	return xmlstream.El(ns, "blocklist", itemElements(slices.SortedFunc(maps.Keys(s), jid.JID.Compare))), nil
}

func itemElements(all []jid.JID) []*xmlstream.Element {
	x := make([]*xmlstream.Element, len(all))
	for i, j := range all {
		x[i] = xmlstream.El(ns, "item", xmlstream.A("jid", j.String()))
	}
	return x
}

// items reads the addresses of a command, each once.
func items(x *xmlstream.Element) (all []jid.JID, err error) {
	seen := make(set)
	for k := range x.Elements() {
		if !k.Is(ns, "item") {
			continue
		}
		text, ok := k.LookupAttr(xmlstream.Name{Local: "jid"})
		if !ok {
			return nil, stanza.Err(stanza.BadRequest, "an item has a jid")
		}
		j, err := jid.Parse(text)
		if err != nil {
			return nil, stanza.Errf(stanza.JIDMalformed, "%v", err)
		}
		if !seen.has(j) {
			seen[j] = struct{}{}
			all = append(all, j)
		}
	}
	return all, nil
}

// block adds addresses (XEP-0191#block).
func (b *blocking) block(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	add, err := items(r.Payload)
	switch {
	case err != nil:
		return nil, err
	case len(add) == 0:
		return nil, stanza.Err(stanza.BadRequest, "a block command has at least one item")
	case len(add) > b.c.Items:
		return nil, errLimit
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	old, err := b.lists.of(ctx, r.Account)
	if err != nil {
		return nil, err
	}
	now := old.with(add)
	err = b.h.DB().Write(ctx, func(tx mod.Tx) error { return b.lists.add(ctx, tx, r.Account, add, b.c.Items) })
	if err != nil {
		return nil, err
	}
	b.lists.put(r.Account, old)           // it may have been forgotten meanwhile
	b.goOffline(ctx, r.Account, old, now) // while the old list still lets it through
	b.lists.put(r.Account, now)
	return b.done(r, "block", add)
}

// unblock removes addresses, or all (XEP-0191#unblock, XEP-0191#unblockall).
func (b *blocking) unblock(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	del, err := items(r.Payload)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	old, err := b.lists.of(ctx, r.Account)
	if err != nil {
		return nil, err
	}
	now := old.without(del)
	write := func(tx mod.Tx) error { return b.lists.del(ctx, tx, r.Account, del) }
	if len(del) == 0 {
		now = nil
		write = func(tx mod.Tx) error { return b.lists.clear(ctx, tx, r.Account) }
	}
	if err := b.h.DB().Write(ctx, write); err != nil {
		return nil, err
	}
	b.lists.put(r.Account, now)
	b.comeBack(ctx, r.Account, old, now)
	return b.done(r, "unblock", del)
}

// done answers a command and then tells the resources that have asked for the list (XEP-0191#block).
func (b *blocking) done(r *mod.Request, command string, changed []jid.JID) (*xmlstream.Element, error) {
	answered := r.Session != nil
	if answered {
		a := r.Result(nil)
		a.From = cmp.Or(a.From, r.Account)
		r.Session.Send(a)
	}
	for _, s := range b.h.Sessions(r.Account) {
		if s.Flag(wantsPushes) != "" {
			s.Send(stanza.NewIQ(stanza.TypeSet, r.Account, s.JID(), xmlstream.El(ns, command, itemElements(changed))))
		}
	}
	if answered {
		return nil, mod.ErrAnswered
	}
	return nil, nil
}
