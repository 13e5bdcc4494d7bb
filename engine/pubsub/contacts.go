package pubsub

import (
	"context"
	"errors"
	"slices"
	"time"

	"sabir/mod"
	"sabir/xmpp/jid"
)

// ContactChanged follows the roster of an account, of which an item was one thing and is another: subscriptions end to what the contact
// may not read any more, and with PEP it gets the last items of what its presence subscribes it to from now on. It belongs into the
// hook of this name, to be called in its own time; since is when it was called.
func (s *Service) ContactChanged(ctx context.Context, account jid.JID, was, is mod.Contact, since time.Time) error {
	at := s.o.Domain
	if s.o.PEP {
		at = account
	}
	list, err := s.store.subscriptionsOf(ctx, at, is.JID, "", s.now())
	if err != nil {
		return err
	}
	for _, x := range list {
		if err := s.recheck(ctx, at, x); err != nil {
			return err
		}
	}
	if s.o.PEP && s.implicit() && is.Subscription&mod.SubFrom != 0 {
		return s.welcome(ctx, account, was, is, since)
	}
	return nil
}

// recheck ends a subscription to a node that its subscriber may not read any more (XEP-0163#impl-subscriptions). A request that waits
// is for the owner to decide.
func (s *Service) recheck(ctx context.Context, at jid.JID, x subscribedAt) error {
	defer s.turn(at, x.node).Unlock()
	n, err := s.store.node(ctx, at, x.node)
	if errors.Is(err, errNoNode) {
		return nil
	}
	if err != nil {
		return err
	}
	now, err := s.store.subscription(ctx, n, x.jid, s.now())
	if err != nil || now.state != Subscribed {
		return err
	}
	if ok, err := s.reads(ctx, n, x.jid); ok || err != nil {
		return err
	}
	gone := now
	gone.state = NotSub
	if err := s.changeSubscription(ctx, n, now, gone); err != nil {
		return err
	}
	s.tellOwners(ctx, n, gone)
	return nil
}

// opened sends the last item of a node whose configuration was another one to those whom presence subscribes to it now and did not
// before (XEP-0060#impl-notify). The lock of the node is held.
func (s *Service) opened(ctx context.Context, was, n *node) {
	a, b := &was.config, &n.config
	if !s.o.PEP || a.Access == b.Access && slices.Equal(a.RosterGroups, b.RosterGroups) || b.SendLast != SendOnSubPresence || !b.Notify {
		return
	}
	nobody := func(jid.JID) bool { return false }
	before, err := s.interested(ctx, was, nobody)
	var now []jid.JID
	if err == nil {
		now, err = s.interested(ctx, n, nobody)
	}
	var last *item
	if err == nil {
		last, err = s.store.last(ctx, n, s.since(n))
	}
	if err != nil {
		s.h.Log().Error("those to whom a node was opened are not told", "node", n.name, "error", err)
		return
	}
	for _, j := range now {
		if last != nil && !slices.Contains(before, j) {
			s.sendItem(ctx, n, last, j, false)
		}
	}
}

// welcome sends the resources of a contact the last items of the nodes that presence opens to it now and did not before
// (XEP-0163#notify-last, XEP-0060#impl-notify).
func (s *Service) welcome(ctx context.Context, account jid.JID, was, is mod.Contact, since time.Time) error {
	in := func(c mod.Contact, n *node) bool {
		return slices.ContainsFunc(c.Groups, func(g string) bool { return slices.Contains(n.config.RosterGroups, g) })
	}
	for _, p := range s.presences(account, is.JID) {
		features, _ := s.h.Capabilities().Features(p)
		err := s.sendLasts(ctx, account, p.From, wish{names: wanted(features), since: since, which: func(n *node) bool {
			if was.Subscription&mod.SubFrom != 0 {
				return n.config.Access == AccessRoster && in(is, n) && !in(was, n)
			}
			return n.config.Access != AccessOpen || !s.sharers.has(account, p.From)
		}})
		if err != nil {
			return err
		}
	}
	return nil
}
