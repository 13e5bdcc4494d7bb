package transcript

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sabir/xmpp/client"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// Namespaces of what Clean removes.
const (
	nsRoster   = "jabber:iq:roster"                        // RFC 6121 §2
	nsBlocking = "urn:xmpp:blocking"                       // XEP-0191
	nsPrivate  = "jabber:iq:private"                       // XEP-0049
	nsVCard    = "vcard-temp"                              // XEP-0054
	nsMAM      = "urn:xmpp:mam:2"                          // XEP-0441#config
	nsItems    = "http://jabber.org/protocol/disco#items"  // XEP-0030
	nsPubSub   = "http://jabber.org/protocol/pubsub"       // XEP-0060#entity-affiliations
	nsCommands = "http://jabber.org/protocol/commands"     // XEP-0050
	nsForm     = "jabber:x:data"                           // XEP-0004
	nsPAM      = "urn:xmpp:pam:0"                          // XEP-0376#sublist
	nsOwner    = "http://jabber.org/protocol/pubsub#owner" // XEP-0060#owner-delete
)

// Clean makes accounts that were used before as good as new: blocked addresses, roster items and requests, messages that
// wait, vCards, the PEP nodes, what they own and are subscribed to at the pubsub services of their domain, and the private data
// that the script touches are removed, and archives keep everything. What the server does not have is passed over. Archives are emptied by a command that Sabir has; with other servers they stay as they are.
func Clean(ctx context.Context, s *Script, t *Target, accounts []Account) error {
	var cs []*cleaner
	defer func() {
		for _, c := range cs {
			if err := c.close(ctx); err != nil {
				t.log().Debug("closing a session", "err", err)
			}
		}
	}()
	for _, a := range accounts { // all are there before the first is cleaned, so that nothing is kept for them
		c, err := newCleaner(ctx, t, a)
		if err != nil {
			return fmt.Errorf("cleaning %s: %w", a.JID, err)
		}
		cs = append(cs, c)
	}
	for _, a := range accounts {
		if err := takeOver(ctx, s, t, a); err != nil {
			return fmt.Errorf("cleaning %s: %w", a.JID, err)
		}
	}
	private := s.privateData()
	for _, c := range cs {
		if err := c.clean(ctx, private); err != nil {
			return fmt.Errorf("cleaning %s: %w", c.c.JID().Bare(), err)
		}
	}
	for _, c := range cs { // what the others' cleaning has sent here has come when this is answered
		if err := c.c.Ping(ctx, jid.JID{}); err != nil {
			return fmt.Errorf("cleaning %s: %w", c.c.JID().Bare(), err)
		}
	}
	return nil
}

// takeOver binds the resources that the script uses, and lets them go. A session of an earlier script that waits to be resumed
// (XEP-0198) ends thereby, and what it was owed comes to the cleaner and not into this script.
func takeOver(ctx context.Context, s *Script, t *Target, a Account) error {
	seen := map[string]bool{"": true}
	for i := range s.Characters {
		j, err := jid.Parse(s.Characters[i].Get("jid"))
		resource := j.Resource()
		if err != nil || seen[resource] { // a character of another kind has no address
			continue
		}
		seen[resource] = true
		full, err := a.JID.Bare().WithResource(resource)
		if err != nil {
			return err
		}
		cfg := t.Client
		cfg.JID, cfg.Password = full, a.Password
		c, err := client.Dial(ctx, &cfg)
		if err == nil {
			err = (&cleaner{c: c}).close(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// privateData returns the names of the private data (XEP-0049) that the script sends.
func (s *Script) privateData() []xmlstream.Name {
	var names []xmlstream.Name
	for i := range s.Steps {
		for _, x := range s.Steps[i].Elements {
			if q := x.Child(nsPrivate, "query").First(); q != nil && s.Steps[i].Verb == Sends {
				names = append(names, q.Name)
			}
		}
	}
	return names
}

// cleaner is a session that is available, so that all that waits comes.
type cleaner struct {
	c    *client.Client
	asks chan jid.JID // who asks for a subscription
}

func newCleaner(ctx context.Context, t *Target, a Account) (*cleaner, error) {
	cfg := t.Client
	cfg.JID, cfg.Password = a.JID, a.Password
	c := &cleaner{asks: make(chan jid.JID, 1024)}
	cfg.Handle = func(_ *client.Client, s *stanza.Stanza) bool {
		if s.Kind == stanza.Presence && s.Type == stanza.TypeSubscribe {
			select {
			case c.asks <- s.From:
			default: // more than a thousand are left to the next time
			}
		}
		return false
	}
	var err error
	if c.c, err = client.Dial(ctx, &cfg); err != nil {
		return nil, err
	}
	return c, c.c.Send(stanza.New(stanza.Presence, stanza.TypeAvailable))
}

func (c *cleaner) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	return c.c.Close(ctx)
}

// request asks the account's server for something that it may not have: its errors are passed over.
func (c *cleaner) request(ctx context.Context, typ string, payload *xmlstream.Element) (*xmlstream.Element, error) {
	return c.ask(ctx, typ, jid.JID{}, payload)
}

// ask is request of another entity.
func (c *cleaner) ask(ctx context.Context, typ string, to jid.JID, payload *xmlstream.Element) (*xmlstream.Element, error) {
	x, err := c.c.Request(ctx, typ, to, payload)
	var refused *stanza.Error
	if errors.As(err, &refused) {
		return nil, nil
	}
	return x, err
}

func (c *cleaner) clean(ctx context.Context, private []xmlstream.Name) error {
	steps := []*xmlstream.Element{
		xmlstream.El(nsBlocking, "unblock"),
		xmlstream.El(nsVCard, "vCard"),
		xmlstream.El(nsMAM, "prefs", xmlstream.A("default", "always"), xmlstream.El(nsMAM, "always"), xmlstream.El(nsMAM, "never")),
		xmlstream.El(nsCommands, "command", xmlstream.A("node", "sabir/archive/clear"), xmlstream.El(nsForm, "x", xmlstream.A("type", "submit"))),
	}
	for _, n := range private {
		steps = append(steps, xmlstream.El(nsPrivate, "query", xmlstream.El(n.Space, n.Local)))
	}
	for _, x := range steps {
		if _, err := c.request(ctx, stanza.TypeSet, x); err != nil {
			return err
		}
	}
	if err := c.managed(ctx); err != nil {
		return err
	}
	if err := c.nodes(ctx); err != nil {
		return err
	}
	if err := c.services(ctx); err != nil {
		return err
	}
	roster, err := c.request(ctx, stanza.TypeGet, xmlstream.El(nsRoster, "query"))
	if err != nil {
		return err
	}
	for item := range roster.Elements() {
		x := xmlstream.El(nsRoster, "query", xmlstream.El(nsRoster, "item", xmlstream.A("jid", item.Attr("jid")), xmlstream.A("subscription", "remove")))
		if _, err := c.request(ctx, stanza.TypeSet, x); err != nil {
			return err
		}
	}
	for {
		select {
		case from := <-c.asks:
			p := stanza.New(stanza.Presence, stanza.TypeUnsubscribed)
			p.To = from.Bare()
			if err := c.c.Send(p); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// managed ends the subscriptions that the account's server keeps (XEP-0376#sublist).
func (c *cleaner) managed(ctx context.Context) error {
	list, err := c.request(ctx, stanza.TypeGet, xmlstream.El(nsPAM, "subscriptions"))
	if err != nil {
		return err
	}
	for s := range list.Elements() {
		if _, err := c.request(ctx, stanza.TypeSet, xmlstream.El(nsPAM, "pam", xmlstream.A("jid", s.Attr("service")), unsubscribe(s))); err != nil {
			return err
		}
	}
	return nil
}

// unsubscribe returns what ends a subscription of a list (XEP-0060#subscriber-unsubscribe).
func unsubscribe(s *xmlstream.Element) *xmlstream.Element {
	end := xmlstream.El(nsPubSub, "unsubscribe", xmlstream.A("node", s.Attr("node")), xmlstream.A("jid", s.Attr("jid")))
	if id := s.Attr("subid"); id != "" {
		end.SetAttr(xmlstream.Name{Local: "subid"}, id)
	}
	return end
}

// nodes deletes the nodes of the account's personal eventing service (XEP-0163).
func (c *cleaner) nodes(ctx context.Context) error {
	own := c.c.JID().Bare()
	items, err := c.ask(ctx, stanza.TypeGet, own, xmlstream.El(nsItems, "query"))
	if err != nil {
		return err
	}
	for item := range items.Elements() {
		if item.Attr("jid") != own.String() || item.Attr("node") == "" {
			continue
		}
		if err := c.deleteNode(ctx, own, item.Attr("node")); err != nil {
			return err
		}
	}
	return nil
}

// services deletes the account's nodes at the pubsub services of its domain, and ends its subscriptions to others' nodes.
func (c *cleaner) services(ctx context.Context) error {
	items, err := c.ask(ctx, stanza.TypeGet, c.c.JID().DomainJID(), xmlstream.El(nsItems, "query"))
	if err != nil {
		return err
	}
	for item := range items.Elements() {
		service, err := jid.Parse(item.Attr("jid"))
		if err != nil || service.Local() != "" {
			continue
		}
		// XEP-0060#entity-affiliations, #entity-subscriptions: another kind of service answers with an error.
		x, err := c.ask(ctx, stanza.TypeGet, service, xmlstream.El(nsPubSub, "pubsub", xmlstream.El(nsPubSub, "affiliations")))
		if err != nil {
			return err
		}
		for a := range x.Child(nsPubSub, "affiliations").Elements() {
			if a.Attr("affiliation") == "owner" {
				if err := c.deleteNode(ctx, service, a.Attr("node")); err != nil {
					return err
				}
			}
		}
		x, err = c.ask(ctx, stanza.TypeGet, service, xmlstream.El(nsPubSub, "pubsub", xmlstream.El(nsPubSub, "subscriptions")))
		if err != nil {
			return err
		}
		for s := range x.Child(nsPubSub, "subscriptions").Elements() {
			if _, err := c.ask(ctx, stanza.TypeSet, service, xmlstream.El(nsPubSub, "pubsub", unsubscribe(s))); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *cleaner) deleteNode(ctx context.Context, service jid.JID, node string) error {
	_, err := c.ask(ctx, stanza.TypeSet, service, xmlstream.El(nsOwner, "pubsub", xmlstream.El(nsOwner, "delete", xmlstream.A("node", node))))
	return err
}
