package pubsub

import (
	"context"
	"slices"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/delay"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// nsAddress qualifies extended addressing (XEP-0033), by which a notification says where replies go.
const nsAddress = "http://jabber.org/protocol/address"

// parse bounds what is read back: it was accepted within the limits of a stream.
var parse = xmlstream.Limits{Bytes: 16 << 20, Depth: 200, Attrs: 200, Children: 100000, Name: 1 << 16}

// message returns a message as from a node's service.
func message(n *node, typ string, x *xmlstream.Element) *stanza.Stanza {
	m := stanza.New(stanza.Message, typ, x)
	m.From, m.ID = n.at, stanza.NewID() // XEP-0060#impl-bounce
	return m
}

// event returns the notification of a change.
func (s *Service) event(n *node, x *xmlstream.Element) *stanza.Stanza {
	return message(n, n.config.NotificationType, xmlstream.El(NSEvent, "event", x))
}

// itemEvent is what is told of a new item: with its payload where the node delivers those.
func itemEvent(n *node, i *item) (*xmlstream.Element, error) {
	items := xmlstream.El(NSEvent, "items", xmlstream.A("node", n.name))
	if i.id == "" && !n.config.Payloads {
		return items, nil
	}
	e := xmlstream.El(NSEvent, "item")
	if i.id != "" {
		e.Add(xmlstream.A("id", i.id))
	}
	if n.tells(i) {
		e.Add(xmlstream.A("publisher", i.publisher.String())) // XEP-0060#publisher-publish-success-publisher
	}
	if i.payload != "" && n.config.Payloads {
		payload, err := i.node()
		if err != nil {
			return nil, err
		}
		e.Add(payload)
	}
	return items.Add(e), nil
}

func retractEvent(n *node, ids ...string) *xmlstream.Element {
	items := xmlstream.El(NSEvent, "items", xmlstream.A("node", n.name))
	for _, id := range ids {
		items.Add(xmlstream.El(NSEvent, "retract", xmlstream.A("id", id)))
	}
	return items
}

// announce tells all who are to be told. The lock of the node is held. i is the item it is about, if there is one.
func (s *Service) announce(ctx context.Context, n *node, x *xmlstream.Element, i *item) {
	to, texts, err := s.audience(ctx, n, false)
	if err != nil {
		// The change is durable and its sender will be told so; who misses the notification finds it at the node.
		s.h.Log().Error("subscribers cannot be read", "error", err)
		return
	}
	m := s.event(n, x)
	if a := s.repliesTo(ctx, n, i); a != nil {
		m.Add(a)
	}
	s.spread(ctx, n, i, m, to)
	if len(texts) == 0 {
		return
	}
	if m, err = withBody(m, i); err != nil {
		s.h.Log().Error("an item cannot be read", "error", err)
	}
	s.spread(ctx, n, i, m, texts)
}

// spread sends a notification to all, and of an account's item with the resource that has published it to those who know of that
// resource: who do not see the presence of the account are not told (XEP-0163#notify-addressing).
func (s *Service) spread(ctx context.Context, n *node, i *item, m *stanza.Stanza, to []jid.JID) {
	at := s.publishedAt(n, i)
	if at.IsZero() {
		s.send(ctx, n, m, to)
		return
	}
	var seeing, others []jid.JID
	for i, j := range to {
		sees, err := mod.SeesPresence(ctx, s.h.Roster(), n.at, j)
		if err != nil {
			s.h.Log().Error("the roster cannot be read", "error", err)
			others = append(others, to[i:]...)
			break
		}
		if sees {
			seeing = append(seeing, j)
		} else {
			others = append(others, j)
		}
	}
	s.h.RouteAll(ctx, []mod.Fan{{Stanza: m.Clone().Add(replyTo(at)), To: seeing}, {Stanza: m, To: others}})
}

// publishedAt returns the resource of an account that has published an item, where it is available to all who see the account's presence,
// and the node says nothing else of where replies go. Else it is zero.
func (s *Service) publishedAt(n *node, i *item) jid.JID {
	if !s.o.PEP || i == nil || n.config.ItemReply != "" || i.resource.Bare() != n.at {
		return jid.JID{}
	}
	if t := s.h.Session(i.resource); t == nil || t.Presence() == nil {
		return jid.JID{}
	}
	return i.resource
}

// announceItem tells of a new item.
func (s *Service) announceItem(ctx context.Context, n *node, i *item) {
	x, err := itemEvent(n, i)
	if err != nil {
		s.h.Log().Error("an item cannot be read", "error", err)
		return
	}
	s.announce(ctx, n, x, i)
}

// repliesTo returns where the owner wants replies to an item to go (pubsub#itemreply), or nil.
func (s *Service) repliesTo(ctx context.Context, n *node, i *item) *xmlstream.Element {
	var to []jid.JID
	switch {
	case i == nil || n.config.ItemReply == "" || n.config.ItemReply == ReplyNone:
		return nil
	case n.config.ItemReply == ReplyPublisher:
		to = append(to, i.publisher)
	default:
		var err error
		if to, err = s.owners(ctx, n); err != nil {
			s.h.Log().Error("the owners of a node cannot be read", "error", err)
			return nil
		}
	}
	return replyTo(to...)
}

// replyTo returns the addresses to which replies go (XEP-0033).
func replyTo(to ...jid.JID) *xmlstream.Element {
	a := xmlstream.El(nsAddress, "addresses")
	for _, j := range to {
		a.Add(xmlstream.El(nsAddress, "address", xmlstream.A("type", "replyto"), xmlstream.A("jid", j.String())))
	}
	return a
}

// audience returns whom to tell of a change of a node: its subscribers, those of nodes above it and of the node that it links to
// as far as they want that (XEP-0497#options), and with PEP the resources that announce their interest. all includes
// subscribers that want no items or wait for an answer (XEP-0060#owner-delete-success). texts are those who want a text with an item.
func (s *Service) audience(ctx context.Context, n *node, all bool) (to, texts []jid.JID, err error) {
	list, err := s.subscribersOf(ctx, n, wantItems)
	if err != nil {
		return nil, nil, err
	}
	if n, err = s.knowing(ctx, n, list); err != nil {
		return nil, nil, err
	}
	explicit, told := make(map[jid.JID]bool), make(map[jid.JID]bool) // bare addresses, and all
	for _, x := range list {
		if !s.hears(n, x, all) {
			continue
		}
		if ok, err := s.stillReads(ctx, n, x); err != nil || !ok && (!all || x.implicit) {
			if err != nil {
				return nil, nil, err
			}
			continue
		}
		if x.implicit && (slices.Contains(to, x.jid) || slices.Contains(texts, x.jid)) {
			continue
		}
		out := &to
		if x.wants&wantBody != 0 && bodied(n) {
			out = &texts
		}
		if !s.o.PEP {
			*out = append(*out, x.jid)
			continue
		}
		explicit[x.jid.Bare()] = true
		for _, j := range s.resources(n, x.jid) {
			if !told[j] {
				told[j] = true
				*out = append(*out, j)
			}
		}
	}
	if !s.o.PEP {
		return to, texts, nil
	}
	more, err := s.interested(ctx, n, func(bare jid.JID) bool { return explicit[bare] })
	return append(to, more...), texts, err
}

// hears tells whether a subscription is for a change of a node; all as for audience. Who is told of the metadata of what is below a node is told
// when some of it is deleted (XEP-0497#intro).
func (s *Service) hears(n *node, x reached, all bool) bool {
	switch {
	case all && !x.implicit:
		return true
	case x.state != Subscribed || !x.deliver:
		return false
	case all && !dependent(n.name):
		return x.wants&(x.by|wantMetadata) != 0
	}
	return x.wants&x.by != 0 && (all || !n.config.PresenceBased || s.present(x.jid))
}

// stillReads tells whether a subscriber may read the node as it is now: rosters and access models change.
func (s *Service) stillReads(ctx context.Context, n *node, x reached) (bool, error) {
	if !x.implicit && n.config.Parent == "" && (n.config.Access == AccessOpen || n.config.Access == AccessAuthorize) {
		return true, nil // outcasts lose their subscriptions at once
	}
	return s.reads(ctx, n, x.jid)
}

// present tells whether an address is available. Of addresses elsewhere that is not known, and they are told.
func (s *Service) present(j jid.JID) bool {
	if j.DomainJID() != s.h.Domain() {
		return true
	}
	return slices.ContainsFunc(s.h.Sessions(j.Bare()), func(t mod.Session) bool {
		return t.Presence() != nil && (j.IsBare() || t.JID() == j)
	})
}

// send sends a message of a service to all.
func (s *Service) send(ctx context.Context, n *node, m *stanza.Stanza, to []jid.JID) {
	s.h.RouteAll(ctx, []mod.Fan{{Stanza: m, To: to}})
}

// sendLast sends a subscriber the item that was published last (XEP-0060#subscriber-subscribe-last).
func (s *Service) sendLast(ctx context.Context, n *node, x subscription) {
	i, err := s.store.last(ctx, n, s.since(n))
	if err != nil {
		s.h.Log().Error("the last item of a node cannot be read", "error", err)
		return
	}
	if i != nil {
		s.sendItem(ctx, n, i, x.jid, x.wants&wantBody != 0 && bodied(n))
	}
}

// sendItem sends an address an item that was published before, with a text or without.
func (s *Service) sendItem(ctx context.Context, n *node, i *item, to jid.JID, text bool) {
	x, err := itemEvent(n, i)
	if err != nil {
		s.h.Log().Error("an item cannot be read", "error", err)
		return
	}
	m := s.event(n, x)
	if text {
		if m, err = withBody(m, i); err != nil {
			s.h.Log().Error("an item cannot be read", "error", err)
			return
		}
	}
	m.Add(delay.Delay{From: n.at, Stamp: i.stamp}.Element())
	s.send(ctx, n, m, []jid.JID{to})
}

// node returns the payload of an item that has one, byte for byte as it is stored.
func (i *item) node() (xmlstream.Node, error) { return xmlstream.Verbatim(i.payload, parse) }

// tellOwners tells owners of a subscription that came or went, where the node is configured to (pubsub#notify_sub).
func (s *Service) tellOwners(ctx context.Context, n *node, sub subscription) {
	if !n.config.NotifySub {
		return
	}
	owners, err := s.owners(ctx, n)
	if err != nil {
		s.h.Log().Error("the owners of a node cannot be read", "error", err)
		return
	}
	s.send(ctx, n, s.event(n, subscriptionElement(NSEvent, n.name, sub)), owners)
}

// Bounced ends the subscriptions of an address that is gone, as the error to a notification says (XEP-0060#impl-bounce).
// Other errors may pass: a server that is not found today may be found tomorrow.
func (s *Service) Bounced(ctx context.Context, at jid.JID, m *stanza.Stanza) error {
	e := m.Err()
	if e == nil || m.Child(NSEvent, "event") == nil || e.Condition != stanza.ItemNotFound && e.Condition != stanza.Gone {
		return nil
	}
	name := m.Child(NSEvent, "event").First()
	if name == nil {
		return nil
	}
	list, err := s.store.subscriptionsOf(ctx, at, m.From, name.Attr("node"), s.now())
	if err != nil {
		return err
	}
	for _, x := range list {
		if x.jid != m.From && x.jid != m.From.Bare() {
			continue
		}
		if !x.public {
			n, err := s.store.node(ctx, at, x.node)
			if err != nil {
				return err
			}
			x.state = NotSub
			if err := s.write(ctx, at, func(tx mod.Tx) error { return s.store.setSubscription(ctx, tx, n, x.subscription) }); err != nil {
				return err
			}
			continue
		}
		// Others are to be told, in turn; and the error may come while the node is telling of something, which holds its lock.
		s.h.Go("bounce", func(ctx context.Context) {
			if err := s.end(ctx, at, x, func(subscription) bool { return true }); err != nil {
				s.h.Log().Error("a subscription of an address that is gone stays", "node", x.node, "error", err)
			}
		})
	}
	return nil
}
