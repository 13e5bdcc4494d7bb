package pubsub

import (
	"context"
	"time"

	"sabir/xmpp/jid"
	"sabir/xmpp/payload/dataform"
	"sabir/xmpp/payload/datetime"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// subscriber returns the address that a request is about, which must be one of who asks.
func subscriber(r *request, x *xmlstream.Element, other *stanza.Error) (jid.JID, error) {
	if x.Attr("jid") == "" {
		return jid.JID{}, fault(stanza.BadRequest, "jid-required")
	}
	j, err := jid.Parse(x.Attr("jid"))
	if err != nil {
		return jid.JID{}, fault(stanza.BadRequest, "invalid-jid")
	}
	if j.Bare() != r.from.Bare() {
		return jid.JID{}, other
	}
	return j, nil
}

// registered tells whether an address will mean the same person tomorrow: one of the host without an account ends with its stream
// (XEP-0175), and what would be kept for it nobody could ever take back.
func (s *Service) registered(ctx context.Context, who jid.JID) (bool, error) {
	if who.Local() == "" || who.DomainJID() != s.h.Domain() {
		return true, nil
	}
	return s.h.Accounts().Exists(ctx, who.Local())
}

// subscribe subscribes to a node (XEP-0060#subscriber-subscribe). An address has one subscription: asking again
// returns it.
func (s *Service) subscribe(ctx context.Context, r *request, x *xmlstream.Element) (*xmlstream.Element, error) {
	who, err := subscriber(r, x, fault(stanza.BadRequest, "invalid-jid"))
	if err != nil {
		return nil, err
	}
	if ok, err := s.registered(ctx, who); err != nil {
		return nil, err
	} else if !ok { // XEP-0060#subscriber-subscribe-error-anonymous
		return nil, stanza.Err(stanza.Forbidden, "the address is a temporary one")
	}
	defer s.turn(r.at, x.Attr("node")).Unlock()
	n, err := s.find(ctx, r, x)
	if err != nil {
		return nil, err
	}
	was, err := s.store.subscription(ctx, n, who, s.now())
	if err != nil {
		return nil, err
	}
	state, err := s.admit(ctx, n, r, was)
	if err != nil {
		return nil, err
	}
	sub := was
	sub.state, sub.public = state, s.Has(NSPublic) && x.Child(NSPublic, "public") != nil // XEP-0465#retracting_public_subs
	options := r.payload.Child(NS, "options")
	if options != nil {
		if !s.Has(featureSubOptions) {
			return nil, unsupported(featureSubOptions)
		}
		if options.Attr("node") != "" || options.Attr("jid") != "" { // XEP-0060#subscriber-configure-subandconfig
			return nil, stanza.Err(stanza.BadRequest, "<subscribe/> names node and address")
		}
		if sub, err = s.setOption(n, sub, options); err != nil {
			return nil, err
		}
	}
	if sub != was {
		if err := s.putSubscription(ctx, n, was, sub); err != nil {
			return nil, err
		}
	}
	e := subscriptionElement(NS, n.name, sub)
	if s.Has(featureSubOptions) {
		e.Add(xmlstream.El(NS, "subscribe-options"))
	}
	out := result(NS, e)
	if options != nil {
		out.Add(xmlstream.El(NS, "options", s.optionsForm(n, dataform.TypeResult, sub).Element()))
	}
	switch {
	case was.state == state:
	case state == Pending:
		s.askOwners(ctx, n, who)
	default:
		s.tellOwners(ctx, n, sub)
		if n.config.SendLast != SendNever && n.config.Notify && sub.deliver && sub.wants&wantItems != 0 {
			s.sendLast(ctx, n, sub)
		}
	}
	return out, nil
}

// admit returns the state that a new subscription gets.
func (s *Service) admit(ctx context.Context, n *node, r *request, was subscription) (State, error) {
	switch {
	case !n.config.Subscribe:
		return "", unsupported(featureSubscribe)
	case was.state == Pending:
		return "", fault(stanza.NotAuthorized, "pending-subscription")
	case was.state == Subscribed:
		return Subscribed, s.mayRead(ctx, n, r.from)
	}
	state := Subscribed
	if err := s.mayRead(ctx, n, r.from); err != nil {
		a, aerr := s.affiliation(ctx, n, r.from)
		if aerr != nil || a != None || n.config.Access != AccessAuthorize {
			return "", err
		}
		state = Pending // XEP-0060#subscriber-subscribe-approval
	}
	if err := s.roomFor(ctx, n); err != nil {
		return "", err
	}
	return state, nil
}

// roomFor returns nil where a node may have one more subscription. The number is counted by the database once, and then added
// to: those that end meanwhile are found out when the limit seems to be reached.
func (s *Service) roomFor(ctx context.Context, n *node) error {
	all, ok := s.counts.Get(n.num)
	if !ok || all >= s.o.Limits.Subscriptions {
		var err error
		if all, _, err = s.store.subscribers(ctx, n, s.now()); err != nil {
			return err
		}
	}
	if all >= s.o.Limits.Subscriptions {
		return fault(stanza.PolicyViolation, "too-many-subscriptions").OfType(stanza.Wait) // some may end
	}
	s.counts.Put(n.num, all+1)
	return nil
}

func subscriptionElement(ns, node string, x subscription) *xmlstream.Element {
	e := xmlstream.El(ns, "subscription", xmlstream.A("jid", x.jid.String()), xmlstream.A("subscription", string(x.state)))
	if node != "" {
		e.Add(xmlstream.A("node", node))
	}
	if !x.expires.IsZero() {
		e.Add(xmlstream.A("expiry", datetime.Format(x.expires)))
	}
	return e
}

// unsubscribe ends a subscription (XEP-0060#subscriber-unsubscribe).
func (s *Service) unsubscribe(ctx context.Context, r *request, x *xmlstream.Element) (*xmlstream.Element, error) {
	defer s.turn(r.at, x.Attr("node")).Unlock()
	n, sub, err := s.own(ctx, r, x)
	if err != nil {
		return nil, err
	}
	was := sub
	sub.state = NotSub
	if err := s.putSubscription(ctx, n, was, sub); err != nil {
		return nil, err
	}
	s.tellOwners(ctx, n, sub)
	return result(NS, subscriptionElement(NS, n.name, sub)), nil
}

// own returns the subscription of who asks that a request is about, with its node, or the error that is owed.
func (s *Service) own(ctx context.Context, r *request, x *xmlstream.Element) (*node, subscription, error) {
	who, err := subscriber(r, x, stanza.Err(stanza.Forbidden, ""))
	if err != nil {
		return nil, subscription{}, err
	}
	n, err := s.find(ctx, r, x)
	if err != nil {
		return nil, subscription{}, err
	}
	sub, err := s.store.subscription(ctx, n, who, s.now())
	if err == nil && sub.state == NotSub {
		err = fault(stanza.UnexpectedRequest, "not-subscribed")
	}
	return n, sub, err
}

// optionsForm returns the options of a subscription to a node, or where it is nil to any (XEP-0060#registrar-formtypes-subscribe).
func (s *Service) optionsForm(n *node, t dataform.Type, x subscription) *dataform.Form {
	deliver := dataform.Field{Var: prefix + "deliver", Type: dataform.Boolean, Values: []string{"1"}}
	if !x.deliver {
		deliver.Values = []string{"0"}
	}
	expire := dataform.Field{Var: prefix + "expire", Type: dataform.TextSingle, Values: []string{""}}
	if !x.expires.IsZero() {
		expire.Values = []string{datetime.Format(x.expires)}
	}
	if t == dataform.TypeForm {
		deliver.Label, expire.Label = "Tell me of what is new", "The time at which the subscription ends; empty for never"
	}
	f := dataform.New(t, nsSubOptions, deliver)
	if s.Has(featureLeasedSubscription) {
		f.Fields = append(f.Fields, expire)
	}
	if bodied(n) {
		f.Fields = append(f.Fields, bodyField(t, x))
	}
	if s.Has(nsExtSub) {
		f.Fields = append(f.Fields, extendedOptions(t, x)...)
	}
	if s.Has(NSPublic) {
		f.Fields = append(f.Fields, publicField(t, x))
	}
	return f
}

// setOption applies <options/> to a subscription.
func (s *Service) setOption(n *node, x subscription, options *xmlstream.Element) (subscription, error) {
	f, err := dataform.Parse(options.Child(dataform.NS, "x"))
	if err == nil {
		f, err = s.optionsForm(n, dataform.TypeForm, x).Submit(f)
	}
	if err != nil { // XEP-0060#subscriber-configure-process-failure
		return x, fault(stanza.BadRequest, "invalid-options")
	}
	if d := f.Field(prefix + "deliver"); d != nil {
		x.deliver, _ = d.Bool()
	}
	if d := f.Field(prefix + "expire"); d != nil {
		x.expires = time.Time{}
		if d.Value() != "" {
			t, err := datetime.Parse(d.Value())
			if err != nil || !t.After(s.now()) {
				return x, fault(stanza.BadRequest, "invalid-options")
			}
			x.expires = t.UTC().Truncate(time.Microsecond)
		}
	}
	if p := f.Field(FieldPublic); p != nil {
		x.public, _ = p.Bool()
	}
	if b := f.Field(fieldBody); b != nil {
		x.wants &^= wantBody
		if text, _ := b.Bool(); text {
			x.wants |= wantBody
		}
	}
	return x, x.extend(f)
}

// getOptions returns the options of a subscription (XEP-0060#subscriber-configure).
func (s *Service) getOptions(ctx context.Context, r *request, x *xmlstream.Element) (*xmlstream.Element, error) {
	n, sub, err := s.own(ctx, r, x)
	if err != nil {
		return nil, err
	}
	form := s.optionsForm(n, dataform.TypeForm, sub).Element()
	return result(NS, xmlstream.El(NS, "options", xmlstream.A("node", n.name), xmlstream.A("jid", sub.jid.String()), form)), nil
}

// setOptions changes the options of a subscription (XEP-0060#subscriber-configure-submit).
func (s *Service) setOptions(ctx context.Context, r *request, x *xmlstream.Element) (*xmlstream.Element, error) {
	defer s.turn(r.at, x.Attr("node")).Unlock()
	n, sub, err := s.own(ctx, r, x)
	if err != nil {
		return nil, err
	}
	was := sub
	if sub, err = s.setOption(n, sub, x); err != nil {
		return nil, err
	}
	return nil, s.putSubscription(ctx, n, was, sub)
}

// defaultOptions returns the options of new subscriptions (XEP-0060#subscribe-default).
func (s *Service) defaultOptions(ctx context.Context, r *request, x *xmlstream.Element) (*xmlstream.Element, error) {
	if !s.Has(featureSubOptions) { // XEP-0060#subscriber-default-error-noconfig
		return nil, unsupported(featureSubOptions)
	}
	e := xmlstream.El(NS, "default")
	var n *node
	if x.Attr("node") != "" {
		var err error
		if n, err = s.find(ctx, r, x); err != nil {
			return nil, err
		}
		e.Add(xmlstream.A("node", n.name))
	}
	return result(NS, e.Add(s.optionsForm(n, dataform.TypeResult, subscription{deliver: true, wants: wantItems}).Element())), nil
}

// ownSubscriptions returns those of who asks (XEP-0060#entity-subscriptions).
func (s *Service) ownSubscriptions(ctx context.Context, r *request, x *xmlstream.Element) (*xmlstream.Element, error) {
	name := x.Attr("node")
	list, err := s.store.subscriptionsOf(ctx, r.at, r.from, name, s.now())
	if err != nil {
		return nil, err
	}
	e := xmlstream.El(NS, "subscriptions")
	if name != "" {
		e.Add(xmlstream.A("node", name))
	}
	for _, k := range list {
		e.Add(subscriptionElement(NS, k.node, k.subscription))
	}
	return result(NS, e), nil
}

// ownAffiliations returns those of who asks (XEP-0060#entity-affiliations).
func (s *Service) ownAffiliations(ctx context.Context, r *request, x *xmlstream.Element) (*xmlstream.Element, error) {
	list, err := s.store.affiliationsOf(ctx, r.at, r.from)
	if err != nil {
		return nil, err
	}
	e := xmlstream.El(NS, "affiliations")
	name := x.Attr("node")
	if name != "" {
		e.Add(xmlstream.A("node", name))
	}
	for _, a := range list {
		if name == "" || a.node == name {
			e.Add(xmlstream.El(NS, "affiliation", xmlstream.A("node", a.node), xmlstream.A("affiliation", a.affiliation.wire())))
		}
	}
	return result(NS, e), nil
}
