package pam

import (
	"context"
	"embed"
	"fmt"
	"slices"

	"sabir/engine/pubsub"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/dataform"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

const ns = "urn:xmpp:pam:0"

//go:embed schema
var schema embed.FS

// Info describes the extension.
var Info = mod.Info{
	Name:   "pam",
	Specs:  []string{"XEP-0376 0.2", "XEP-0465 0.1.1"},
	Doc:    "Keeps for all devices of an account to which nodes it is subscribed, here and elsewhere.",
	Config: func() any { return &Config{Subscriptions: 5000} },
	Schema: schema,
	New:    newPAM,
}

// Config is the section [mod.pam].
type Config struct {
	Subscriptions int `toml:"subscriptions" doc:"Subscriptions kept for one account."`
}

// Validate checks that the limit is positive.
func (c *Config) Validate() error {
	if c.Subscriptions < 1 {
		return fmt.Errorf("subscriptions is at least 1")
	}
	return nil
}

type pam struct {
	h     mod.Host
	c     *Config
	store store
	turns *orderly
}

func newPAM(h mod.Host, cfg any) (*mod.Hooks, error) {
	p := &pam{h: h, c: cfg.(*Config), store: store{h.DB()}}
	p.turns = newOrderly(func(f func(ctx context.Context)) { h.Go("subscription", f) })
	hooks := &mod.Hooks{
		Observe:              []mod.ObserveHook{{When: mod.When{Side: mod.In, Kinds: mod.Messages}, Func: p.observe}},
		BeforeAccountRemoved: p.leave,
		AccountRemoved:       p.store.deleteAll,
	}
	// COMPAT: Libervia 0.9 (2026-11) asks the server, and XEP-0376#subs has the account asked.
	for _, at := range []mod.Where{mod.AtOwn, mod.AtHost} {
		hooks.IQ = append(hooks.IQ,
			mod.IQHandler{At: at, Space: ns, Local: "pam", Type: stanza.TypeSet, Func: p.manage},
			mod.IQHandler{At: at, Space: ns, Local: "subscriptions", Type: stanza.TypeGet, Func: p.list})
	}
	return hooks, nil
}

// owner returns the account that a request is about, which is that of who asks.
func owner(r *mod.Request) (jid.JID, error) {
	if r.Session == nil {
		return jid.JID{}, stanza.Err(stanza.ServiceUnavailable, "")
	}
	return r.From.Bare(), nil
}

// list returns the subscriptions of an account, or nothing where the client has them (XEP-0376#sublist).
func (p *pam) list(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	account, err := owner(r)
	if err != nil {
		return nil, err
	}
	list, err := p.store.list(ctx, account)
	if err != nil {
		return nil, err
	}
	ver := version(list)
	if r.Payload.Attr("ver") == ver {
		return nil, nil
	}
	out := xmlstream.El(ns, "subscriptions", xmlstream.A("ver", ver))
	for i := range list {
		out.Add(list[i].element(account, ns).Add(xmlstream.A("service", list[i].service)))
	}
	return out, nil
}

// order is what a client asks for: to subscribe to a node, or to unsubscribe.
type order struct {
	r       *mod.Request
	account jid.JID
	service jid.JID
	what    *xmlstream.Element // <subscribe/> or <unsubscribe/>
	options *xmlstream.Element // form, or nil
	public  bool
}

// parse reads a request (XEP-0376#subs). What XEP-0060 says of the rest is for the service to check.
func parse(r *mod.Request, account jid.JID) (*order, error) {
	o := &order{r: r, account: account}
	var err error
	// The text has the address in the attribute service, and its examples in jid.
	to := r.Payload.Attr("jid")
	if to == "" {
		to = r.Payload.Attr("service")
	}
	if o.service, err = jid.Parse(to); err != nil {
		return nil, stanza.Err(stanza.BadRequest, "the attribute jid is the address of the service")
	}
	for _, name := range []string{"subscribe", "unsubscribe"} {
		if x := r.Payload.Child(pubsub.NS, name); x != nil && o.what == nil {
			o.what = x
		}
	}
	if o.what == nil || o.what.Attr("node") == "" {
		return nil, stanza.Err(stanza.BadRequest, "a node is to be subscribed to, or unsubscribed from")
	}
	if who, err := jid.Parse(o.what.Attr("jid")); err != nil || who != account {
		return nil, stanza.Err(stanza.BadRequest, "the account subscribes by its bare address").With(xmlstream.El(pubsub.NSErrors, "invalid-jid"))
	}
	o.options = r.Payload.Child(pubsub.NS, "options").Child(dataform.NS, "x")
	o.public = o.what.Child(pubsub.NSPublic, "public") != nil || chosen(o.options)
	return o, nil
}

// chosen tells whether the options of a subscription make it public. See the engine.
func chosen(options *xmlstream.Element) bool {
	f, err := dataform.Parse(options)
	if err != nil {
		return false
	}
	public, _ := f.Field(pubsub.FieldPublic).Bool()
	return public
}

// request returns what the service is asked for. Options stand beside <subscribe/>, which names node and address
// (XEP-0060#subscriber-configure-subandconfig).
func (o *order) request() *stanza.Stanza {
	x := xmlstream.El(pubsub.NS, "pubsub", o.what)
	if o.options != nil && o.what.Name.Local == "subscribe" {
		x.Add(xmlstream.El(pubsub.NS, "options", o.options))
	}
	return stanza.NewIQ(stanza.TypeSet, o.account, o.service, x)
}

// manage asks the service what a client wants of it, in the name of the account. The client has its answer once the other devices
// were told.
func (p *pam) manage(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	account, err := owner(r)
	if err != nil {
		return nil, err
	}
	o, err := parse(r, account)
	if err != nil {
		return nil, err
	}
	if o.what.Name.Local == "subscribe" {
		has, err := p.store.list(ctx, account)
		if err != nil {
			return nil, err
		}
		if len(has) >= p.c.Subscriptions {
			return nil, stanza.Errf(stanza.ResourceConstraint, "an account has up to %d subscriptions", p.c.Subscriptions).OfType(stanza.Cancel)
		}
	}
	p.h.Ask(ctx, o.request(), func(answer *stanza.Stanza) {
		p.turns.put(account, 0, func(ctx context.Context) {
			a := p.answered(ctx, o, answer)
			if a.From.IsZero() { // the request was for the account, without a word
				a.From = account
			}
			r.Session.Send(a)
		})
	})
	return nil, mod.ErrAnswered
}

// answered takes the answer of a service and returns that to the client. An error that the service has found is told as such.
func (p *pam) answered(ctx context.Context, o *order, answer *stanza.Stanza) *stanza.Stanza {
	if answer == nil {
		return o.r.ErrorReply(stanza.Err(stanza.RemoteServerTimeout, "the service does not answer"))
	}
	x := subscription{service: o.service.String(), node: o.what.Attr("node"), subid: o.what.Attr("subid"), state: pubsub.NotSub}
	if e := answer.Err(); e != nil {
		if o.what.Name.Local == "unsubscribe" && (e.Condition == stanza.UnexpectedRequest || e.Condition == stanza.ItemNotFound || e.Condition == stanza.Gone) {
			if err := p.become(ctx, o.account, x); err != nil { // there is nothing to end
				p.h.Log().Error("a subscription is still kept", "account", o.account.String(), "error", err)
			}
		}
		if e.By.IsZero() {
			e.By = o.service
		}
		return o.r.ErrorReply(e)
	}
	keep := p.become
	if o.what.Name.Local == "subscribe" {
		keep = p.begin
		x.state, x.public = pubsub.Subscribed, o.public
		if s := answer.Child(pubsub.NS, "pubsub").Child(pubsub.NS, "subscription"); s != nil {
			x.subid, x.state = s.Attr("subid"), pubsub.State(s.Attr("subscription"))
		}
	}
	if err := keep(ctx, o.account, x); err != nil {
		p.h.Log().Error("a subscription was not kept", "account", o.account.String(), "error", err)
		return o.r.ErrorReply(stanza.Err(stanza.InternalServerError, ""))
	}
	return o.r.Result(nil)
}

// become gives those that are kept of the subscriptions that x means its state.
func (p *pam) become(ctx context.Context, account jid.JID, x subscription) error {
	list, err := p.store.meant(ctx, account, x.service, x.node, x.subid)
	for i := 0; err == nil && i < len(list); i++ {
		if list[i].state != x.state {
			list[i].state = x.state
			err = p.change(ctx, account, list[i])
		}
	}
	return err
}

// begin keeps a subscription that a client has asked for. Where a service tells several to one node apart by SubIDs, one that is not
// public takes the node from the public ones (XEP-0465#retracting_public_subs).
func (p *pam) begin(ctx context.Context, account jid.JID, x subscription) error {
	if x.public {
		return p.change(ctx, account, x)
	}
	same, err := p.store.meant(ctx, account, x.service, x.node, "")
	if err != nil {
		return err
	}
	all := []subscription{x}
	for _, o := range same {
		if o.public && o.subid != x.subid {
			o.public = false
			all = append(all, o)
		}
	}
	return p.change(ctx, account, all...)
}

// change keeps subscriptions as they are now, with what is known of them to others, and tells the devices that understand it of the
// first.
func (p *pam) change(ctx context.Context, account jid.JID, all ...subscription) error {
	var known []mod.NodeChange
	for i := range all {
		was, had, err := p.store.find(ctx, account, all[i].service, all[i].node, all[i].subid)
		if err != nil {
			return err
		}
		if all[i].public || had && was.public {
			known = append(known, all[i].item())
		}
	}
	write := func(tx mod.Tx) error {
		for _, x := range all {
			if err := p.store.put(ctx, tx, account, x); err != nil {
				return err
			}
		}
		return nil
	}
	var err error
	if nodes := p.h.AccountNodes(); nodes != nil && len(known) > 0 {
		err = nodes.Change(ctx, account, known, write)
	} else {
		err = p.h.DB().Write(ctx, write)
	}
	if err != nil {
		return err
	}
	return p.tell(ctx, account, all[0])
}

// tell tells the devices that understand it of a change (XEP-0376#subs).
func (p *pam) tell(ctx context.Context, account jid.JID, x subscription) error {
	list, err := p.store.list(ctx, account)
	if err != nil {
		return err
	}
	m := stanza.New(stanza.Message, "", xmlstream.El(ns, "notify", xmlstream.A("ver", version(list)), xmlstream.A("service", x.service), x.element(account, pubsub.NS)))
	m.From, m.ID = account, stanza.NewID()
	for _, t := range p.h.Sessions(account) {
		if now := t.Presence(); now != nil {
			if f, _ := p.h.Capabilities().Features(now); slices.Contains(f, ns) {
				t.Send(m.WithTo(t.JID()))
			}
		}
	}
	return nil
}

// observe follows what services tell of the subscriptions that are kept here: an owner has decided or ended one, or the node is gone
// (XEP-0060#impl-subchange).
func (p *pam) observe(ctx context.Context, pass *mod.Pass, _ mod.Outcome) {
	st := pass.Stanza
	if st.Type == stanza.TypeError || pass.Account.Local() == "" {
		return
	}
	news := st.Child(pubsub.NSEvent, "event").First()
	state := pubsub.State(news.Attr("subscription"))
	switch {
	case news.Is(pubsub.NSEvent, "delete"):
		state = pubsub.NotSub
	case !news.Is(pubsub.NSEvent, "subscription") || state == "" || news.Attr("jid") != pass.Account.String():
		return
	}
	account, x := pass.Account, subscription{service: st.From.String(), node: news.Attr("node"), subid: news.Attr("subid"), state: state}
	taken := p.turns.put(account, p.c.Subscriptions, func(ctx context.Context) {
		if err := p.become(ctx, account, x); err != nil {
			p.h.Log().Error("a subscription was not kept", "account", account.String(), "error", err)
		}
	})
	if !taken { // more than there can be subscriptions
		p.h.Log().Warn("what a service says of a subscription is left aside, since too much waits", "account", account.String(), "service", x.service)
	}
}

// leave ends the subscriptions of an account that is about to be removed.
func (p *pam) leave(ctx context.Context, account jid.JID) error {
	list, err := p.store.list(ctx, account)
	for _, x := range list {
		to, err := jid.Parse(x.service)
		if err != nil {
			return err
		}
		e := xmlstream.El(pubsub.NS, "unsubscribe", xmlstream.A("node", x.node), xmlstream.A("jid", account.String()))
		if x.subid != "" {
			e.Add(xmlstream.A("subid", x.subid))
		}
		p.h.Route(ctx, stanza.NewIQ(stanza.TypeSet, account, to, xmlstream.El(pubsub.NS, "pubsub", e)))
	}
	return err
}
