package pubsub

import (
	"context"
	"slices"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// affiliations returns those of a node, to its owner (XEP-0060#owner-affiliations-retrieve).
func (s *Service) affiliations(ctx context.Context, r *request, x *xmlstream.Element) (*xmlstream.Element, error) {
	n, err := s.owned(ctx, r, x)
	if err != nil {
		return nil, err
	}
	list, err := s.allAffiliations(ctx, n)
	if err != nil {
		return nil, err
	}
	e := xmlstream.El(NSOwner, "affiliations", xmlstream.A("node", n.name))
	for _, a := range list {
		e.Add(affiliationElement(a.jid, a.affiliation))
	}
	return result(NSOwner, e), nil
}

// allAffiliations are those that are stored, and with PEP the account's.
func (s *Service) allAffiliations(ctx context.Context, n *node) ([]affiliated, error) {
	list, err := s.store.affiliations(ctx, n)
	if s.o.PEP {
		list = slices.DeleteFunc(list, func(a affiliated) bool { return a.jid == n.at })
		list = append([]affiliated{{jid: n.at, affiliation: Owner}}, list...)
	}
	return list, err
}

func affiliationElement(who jid.JID, a Affiliation) *xmlstream.Element {
	return xmlstream.El(NSOwner, "affiliation", xmlstream.A("jid", who.String()), xmlstream.A("affiliation", a.wire()))
}

// change is a new affiliation for somebody.
type change struct {
	jid     jid.JID
	from    Affiliation
	to      Affiliation
	refused bool
}

// setAffiliations changes affiliations (XEP-0060#owner-affiliations-modify). Those that cannot be are returned as they
// are, and the others are done. A node always has an owner.
func (s *Service) setAffiliations(ctx context.Context, r *request, x *xmlstream.Element) (*xmlstream.Element, error) {
	defer s.turn(r.at, x.Attr("node")).Unlock()
	n, err := s.owned(ctx, r, x)
	if err != nil {
		return nil, err
	}
	list, err := s.allAffiliations(ctx, n)
	if err != nil {
		return nil, err
	}
	changes, err := s.affiliationChanges(n, list, x)
	if err != nil {
		return nil, err
	}
	if err := s.weigh(n, list, changes); err != nil {
		return nil, err
	}
	err = s.write(ctx, n.at, func(tx mod.Tx) error {
		for _, c := range changes {
			if c.refused {
				continue
			}
			if err := s.store.setAffiliation(ctx, tx, n, c.jid, c.to); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	bad := xmlstream.El(NSOwner, "affiliations", xmlstream.A("node", n.name))
	for _, c := range changes {
		if c.refused {
			bad.Add(affiliationElement(c.jid, c.from))
			continue
		}
		if err := s.affiliationChanged(ctx, n, c); err != nil {
			return nil, err
		}
	}
	if bad.First() != nil { // XEP-0060#owner-affiliations-multi
		return nil, &refused{result(NSOwner, bad)}
	}
	return nil, nil
}

// weigh marks the changes that would leave a node without an owner, and refuses all where they are too many.
func (s *Service) weigh(n *node, list []affiliated, changes []change) error {
	owners, all := 0, len(list)
	for _, a := range list {
		if a.affiliation == Owner {
			owners++
		}
	}
	for i := range changes {
		c := &changes[i]
		switch {
		case c.from == Owner && c.to != Owner && (owners == 1 || s.o.PEP && c.jid == n.at):
			c.refused = true
		case c.from == Owner && c.to != Owner:
			owners--
		case c.from != Owner && c.to == Owner:
			owners++
		}
		if c.from == None && c.to != None {
			all++
		}
	}
	if all > len(list) && all > s.o.Limits.Subscriptions {
		return stanza.Errf(stanza.PolicyViolation, "a node has up to %d affiliations", s.o.Limits.Subscriptions)
	}
	return nil
}

// affiliationChanges reads a request.
func (s *Service) affiliationChanges(n *node, list []affiliated, x *xmlstream.Element) ([]change, error) {
	var out []change
	for k := range x.Elements() {
		if !k.Is(NSOwner, "affiliation") {
			continue
		}
		j, err := jid.Parse(k.Attr("jid"))
		if err != nil {
			return nil, stanza.Errf(stanza.BadRequest, "%v", err)
		}
		j = j.Bare()
		c := change{jid: j}
		if slices.ContainsFunc(out, func(o change) bool { return o.jid == j }) {
			return nil, stanza.Err(stanza.BadRequest, "an address is there twice")
		}
		for _, a := range list {
			if a.jid == j {
				c.from = a.affiliation
			}
		}
		switch v, has := k.LookupAttr(xmlstream.Name{Local: "affiliation"}); {
		case !has:
			c.to = c.from
		case v == "none":
			c.to = None
		case slices.Contains([]Affiliation{Owner, Publisher, PublishOnly, Member, Outcast}, Affiliation(v)):
			c.to = Affiliation(v)
		default:
			return nil, stanza.Errf(stanza.BadRequest, "%.40q is no affiliation", v)
		}
		if err := s.assignable(c.to); err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, stanza.Err(stanza.BadRequest, "the request has no <affiliation/>")
	}
	return out, nil
}

// affiliationChanged does what follows: a request that waits is granted or denied, an outcast loses its subscriptions
// (XEP-0060#owner-subreq-pernode), and who it is about is told (#owner-affiliations-notify).
func (s *Service) affiliationChanged(ctx context.Context, n *node, c change) error {
	if c.from == c.to {
		return nil
	}
	subs, err := s.store.subscriptionsOf(ctx, n.at, c.jid, n.name, s.now())
	if err != nil {
		return err
	}
	for _, x := range subs {
		sub := x.subscription
		switch {
		case c.to == Outcast || c.to == PublishOnly:
			sub.state = NotSub
		case sub.state == Pending && c.to != None:
			sub.state = Subscribed
		default:
			continue
		}
		if err := s.changeSubscription(ctx, n, x.subscription, sub); err != nil {
			return err
		}
	}
	told := xmlstream.El(NS, "affiliations", xmlstream.A("node", n.name),
		xmlstream.El(NS, "affiliation", xmlstream.A("jid", c.jid.String()), xmlstream.A("affiliation", c.to.wire())))
	s.send(ctx, n, message(n, stanza.TypeHeadline, result(NS, told)), []jid.JID{c.jid})
	return nil
}

// changeSubscription stores a subscription that somebody else changed, and tells its subscriber
// (XEP-0060#owner-subscriptions-notifysub).
func (s *Service) changeSubscription(ctx context.Context, n *node, was, sub subscription) error {
	s.counts.Delete(n.num) // it may be a new one
	if err := s.putSubscription(ctx, n, was, sub); err != nil {
		return err
	}
	if s.Has(featureSubNotifications) {
		s.send(ctx, n, s.event(n, subscriptionElement(NSEvent, n.name, sub)), []jid.JID{sub.jid})
	}
	if sub.state == Subscribed && n.config.SendLast != SendNever && n.config.Notify && sub.deliver && sub.wants&wantItems != 0 {
		s.sendLast(ctx, n, sub)
	}
	return nil
}

// subscriptions returns those of a node, to its owner (XEP-0060#owner-subscriptions-retrieve). Requests that wait are not
// among them.
func (s *Service) subscriptions(ctx context.Context, r *request, x *xmlstream.Element) (*xmlstream.Element, error) {
	n, err := s.owned(ctx, r, x)
	if err != nil {
		return nil, err
	}
	list, err := s.store.subscriptions(ctx, n, s.now())
	if err != nil {
		return nil, err
	}
	e := xmlstream.El(NSOwner, "subscriptions", xmlstream.A("node", n.name))
	for _, k := range list {
		if k.state == Subscribed {
			e.Add(subscriptionElement(NSOwner, "", k))
		}
	}
	return result(NSOwner, e), nil
}

// setSubscriptions changes subscriptions of others (XEP-0060#owner-subscriptions-modify). Those that cannot be are
// returned as they are, and the others are done.
func (s *Service) setSubscriptions(ctx context.Context, r *request, x *xmlstream.Element) (*xmlstream.Element, error) {
	defer s.turn(r.at, x.Attr("node")).Unlock()
	n, err := s.owned(ctx, r, x)
	if err != nil {
		return nil, err
	}
	bad := xmlstream.El(NSOwner, "subscriptions", xmlstream.A("node", n.name))
	var changed [][2]subscription // what it was and becomes
	for k := range x.Elements() {
		if !k.Is(NSOwner, "subscription") {
			continue
		}
		j, err := jid.Parse(k.Attr("jid"))
		if err != nil {
			return nil, stanza.Errf(stanza.BadRequest, "%v", err)
		}
		was, err := s.store.subscription(ctx, n, j, s.now())
		if err != nil {
			return nil, err
		}
		sub := was
		switch v := k.Attr("subscription"); State(v) {
		case "":
			continue // XEP-0060#owner-subscriptions-modify-request: it stays
		case Subscribed, Pending, NotSub:
			sub.state = State(v)
		default:
			bad.Add(subscriptionElement(NSOwner, "", was))
			continue
		}
		// Nobody is subscribed by somebody else against their will: an owner grants what was asked for, and ends it.
		if was.state == NotSub && sub.state != NotSub && j.Bare() != r.from.Bare() || sub.state == Pending && was.state != Pending {
			bad.Add(subscriptionElement(NSOwner, "", was))
			continue
		}
		if sub != was {
			changed = append(changed, [2]subscription{was, sub})
		}
	}
	for _, c := range changed {
		if err := s.changeSubscription(ctx, n, c[0], c[1]); err != nil {
			return nil, err
		}
	}
	if bad.First() != nil {
		return nil, &refused{result(NSOwner, bad)}
	}
	return nil, nil
}
