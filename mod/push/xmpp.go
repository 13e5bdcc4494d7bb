package push

import (
	"context"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"sabir/mod"
	"sabir/xmpp/dial"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/dataform"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

const (
	ns          = "urn:xmpp:push:0"
	nsSummary   = "urn:xmpp:push:summary"
	nsMentions  = "urn:xmpp:mmn:0"
	nsPubSub    = "http://jabber.org/protocol/pubsub"
	nsOptions   = "http://jabber.org/protocol/pubsub#publish-options"
	maxNode     = 1023
	maxOptions  = 8192 // bytes of a form of publish options
	maxEndpoint = 2048
)

func (p *push) handlers() []mod.IQHandler {
	h := []mod.IQHandler{
		{At: mod.AtOwn, Space: ns, Local: "enable", Type: stanza.TypeSet, Func: p.enable},
		{At: mod.AtOwn, Space: ns, Local: "disable", Type: stanza.TypeSet, Func: p.disable},
	}
	if p.c.Web {
		h = append(h,
			mod.IQHandler{At: mod.AtOwn, Space: nsWeb, Local: "webpush", Type: stanza.TypeGet, Func: p.webKey},
			mod.IQHandler{At: mod.AtOwn, Space: nsWeb, Local: "subscribe", Type: stanza.TypeSet, Func: p.subscribe},
			mod.IQHandler{At: mod.AtOwn, Space: nsWeb, Local: "unsubscribe", Type: stanza.TypeSet, Func: p.unsubscribe})
	}
	return h
}

// named reads the address and the node in a request (XEP-0357#enabling, #disabling).
func named(e *xmlstream.Element) (j jid.JID, node string, err error) {
	at, ok := e.LookupAttr(xmlstream.Name{Local: "jid"})
	if !ok {
		return j, "", stanza.Err(stanza.BadRequest, "the attribute jid names the push service")
	}
	if j, err = jid.Parse(at); err != nil {
		return j, "", stanza.Errf(stanza.JIDMalformed, "the attribute jid: %v", err)
	}
	if node = e.Attr("node"); len(node) > maxNode {
		return j, "", stanza.Errf(stanza.NotAcceptable, "a node has up to %d bytes", maxNode)
	}
	return j, node, nil
}

// enable keeps an app server (XEP-0357#enabling).
func (p *push) enable(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	to, node, err := named(r.Payload)
	if err != nil {
		return nil, err
	}
	if err := p.mayName(ctx, r.From, to); err != nil {
		return nil, err
	}
	options, err := publishOptions(r.Payload)
	if err != nil {
		return nil, err
	}
	return nil, p.put(ctx, r, &service{key: key{r.Account, kindXMPP, to.String(), node}, secret: options})
}

// put writes a service of the asking client.
func (p *push) put(ctx context.Context, r *mod.Request, s *service) error {
	s.resource = r.From.Resource()
	now := p.h.Clock().Now()
	err := p.h.DB().Write(ctx, func(tx mod.Tx) error {
		n, err := p.store.put(ctx, tx, s, now.UnixMicro())
		if err == nil && n > p.c.Services {
			err = stanza.Errf(stanza.ResourceConstraint, "an account has up to %d push services; disable one", p.c.Services).OfType(stanza.Cancel)
		}
		return err
	})
	p.jobs.forget(s.key, now)
	p.changed(r.Account)
	return err
}

// mayName refuses services that nobody can want: the server would write to somebody on behalf of a user who may not, or to an
// address that it is not to reach (the dialler would refuse that in the end as well).
func (p *push) mayName(ctx context.Context, from, to jid.JID) error {
	if a, err := netip.ParseAddr(strings.Trim(to.Domain(), "[]")); err == nil {
		if err := new(dial.Policy).Check(a); err != nil {
			return stanza.Err(stanza.NotAllowed, "a push service has a name, and this address is none of the Internet")
		}
	}
	if to == p.h.Domain() {
		return stanza.Err(stanza.NotAllowed, "this server is no push service")
	}
	if to.DomainJID() != p.h.Domain() || to.Local() == "" {
		return nil
	}
	ok, err := mod.SeesPresence(ctx, p.h.Roster(), to.Bare(), from)
	if err == nil && !ok { // the same for accounts that do not exist
		err = stanza.Err(stanza.Forbidden, "a push service that is a user's client serves those who may see that user's presence")
	}
	return err
}

// publishOptions returns the form in <enable/>, or "" where there is none.
func publishOptions(e *xmlstream.Element) (string, error) {
	var x *xmlstream.Element
	for c := range e.Elements() {
		if !c.Is(dataform.NS, "x") || x != nil {
			return "", stanza.Err(stanza.BadRequest, "one form of publish options may be given, and nothing else")
		}
		x = c
	}
	if x == nil {
		return "", nil
	}
	f, err := dataform.Parse(x)
	if err != nil {
		return "", stanza.Errf(stanza.BadRequest, "the form: %v", err)
	}
	if f.Type != dataform.TypeSubmit || f.FormType() != nsOptions {
		return "", stanza.Errf(stanza.BadRequest, "the form is of type submit and has the FORM_TYPE %s", nsOptions)
	}
	text := f.Element().String()
	if len(text) > maxOptions {
		return "", stanza.Errf(stanza.NotAcceptable, "publish options have up to %d bytes", maxOptions)
	}
	return text, nil
}

// disable forgets one node of an app server, or all (XEP-0357#disabling).
func (p *push) disable(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	to, node, err := named(r.Payload)
	if err != nil {
		return nil, err
	}
	_, one := r.Payload.LookupAttr(xmlstream.Name{Local: "node"})
	err = p.h.DB().Write(ctx, func(tx mod.Tx) error {
		if one {
			return p.store.remove(ctx, tx, key{r.Account, kindXMPP, to.String(), node})
		}
		return p.store.removeAll(ctx, tx, r.Account, to.String())
	})
	p.changed(r.Account)
	return nil, err
}

// publish tells an app server (XEP-0357#publishing).
func (p *push) publish(ctx context.Context, s *service, sum summary) {
	to, err := jid.Parse(s.service)
	if err != nil {
		p.jobs.done(result{key: s.key, permanent: err.Error()})
		return
	}
	item := xmlstream.El(nsPubSub, "publish", xmlstream.El(nsPubSub, "item", p.notification(sum)))
	item.SetAttr(xmlstream.Name{Local: "node"}, s.node)
	ps := xmlstream.El(nsPubSub, "pubsub", item)
	if s.secret != "" {
		x, err := xmlstream.Parse(s.secret, xmlstream.DefaultLimits)
		if err != nil {
			p.jobs.done(result{key: s.key, permanent: "the publish options cannot be read: " + err.Error()})
			return
		}
		ps.Add(xmlstream.El(nsPubSub, "publish-options", x))
	}
	k := s.key
	p.h.Ask(ctx, stanza.NewIQ(stanza.TypeSet, p.h.Domain(), to, ps), func(a *stanza.Stanza) {
		r := answered(k, a, sum.messages)
		r.mark = sum.mark
		p.jobs.done(r)
	})
}

// notification is the payload for app servers. They get of a message what the configuration lets them (XEP-0357#security).
func (p *push) notification(sum summary) *xmlstream.Element {
	f := dataform.New(dataform.TypeSubmit, nsSummary)
	add := func(name, value string) {
		if value != "" {
			f.Fields = append(f.Fields, dataform.Field{Var: name, Values: []string{value}})
		}
	}
	if sum.messages > 0 {
		add("message-count", strconv.Itoa(sum.messages))
		add("last-message-sender", sum.sender)
		body := sum.body
		if !p.c.Body {
			body = p.c.Placeholder
		}
		add("last-message-body", body)
	}
	if sum.requests > 0 {
		add("pending-subscription-count", strconv.Itoa(sum.requests))
	}
	return xmlstream.El(ns, "notification", f.Element())
}

// answered reads the answer of an app server; nil is none (XEP-0357 §7.1).
func answered(k key, a *stanza.Stanza, told int) result {
	if a == nil {
		return result{key: k, transient: "no answer"}
	}
	e := a.Err()
	if e == nil {
		return result{key: k, told: told}
	}
	switch e.Condition {
	case stanza.RemoteServerTimeout, stanza.RemoteServerNotFound, stanza.InternalServerError, stanza.ResourceConstraint:
		return result{key: k, transient: e.Error()}
	}
	if e.Type == stanza.Wait {
		return result{key: k, transient: e.Error()}
	}
	return result{key: k, permanent: e.Error()}
}

// farewell returns the service of an account that an app server takes back by this message, or nil
// (XEP-0357 §8): the account may no longer publish there.
func (p *push) farewell(ctx context.Context, ps *mod.Pass) *key {
	s := ps.Stanza
	if s.Kind != stanza.Message || s.Type == stanza.TypeError || !s.Has(nsPubSub, "pubsub") {
		return nil
	}
	e := s.Child(nsPubSub, "pubsub")
	a := e.Child(nsPubSub, "affiliation")
	if of, err := jid.Parse(a0(a, "jid")); err != nil || of.Bare() != ps.Account && of != p.h.Domain() {
		return nil
	}
	if v := a.Attr("affiliation"); v != "none" && v != "outcast" && v != "member" {
		return nil
	}
	list, err := p.services(ctx, ps.Account)
	if err != nil {
		p.h.Log().Error("push services cannot be read", "error", err)
		return nil
	}
	for _, sv := range list {
		if sv.kind == kindXMPP && sv.service == s.From.String() && sv.node == e.Attr("node") {
			return &sv.key
		}
	}
	return nil
}

// a0 returns an attribute of an element that may be nil.
func a0(e *xmlstream.Element, name string) string {
	if e == nil {
		return ""
	}
	return e.Attr(name)
}

// target is where notifications go: the domain of an app server, or the host of a browser's push service.
func target(k key) string {
	if k.kind == kindWeb {
		if u, err := url.Parse(k.service); err == nil {
			return u.Host
		}
		return k.service
	}
	_, domain, ok := strings.Cut(k.service, "@")
	if !ok {
		domain = k.service
	}
	domain, _, _ = strings.Cut(domain, "/")
	return domain
}
