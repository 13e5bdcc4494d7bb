package pubsub

import (
	"context"
	"errors"
	"strings"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/dataform"
	"sabir/xmpp/xmlstream"
)

// Subscriptions that others may know of (XEP-0465).
const (
	// NSPublic qualifies what makes a subscription public.
	NSPublic = "urn:xmpp:pps:0"
	// NSFollowing is the node of an account with what it is publicly subscribed to. Who keeps the subscriptions of accounts
	// writes it, by Service.Change.
	NSFollowing = "urn:xmpp:pps:subscriptions:0"
	// nsFollowers begins the names of the nodes with who is publicly subscribed to another node, which links it (XEP-0496).
	nsFollowers = "urn:xmpp:pps:subscribers:0/"

	// FieldPublic is the option of a subscription that makes it public.
	FieldPublic = "{" + NSPublic + "}public"
)

// kept tells whether a node is one whose items the server alone writes (XEP-0465#rules).
func (s *Service) kept(name string) bool {
	return s.Has(NSPublic) && (s.o.PEP && name == NSFollowing || strings.HasPrefix(name, nsFollowers))
}

// hidden tells whether somebody is told that a node is not there: an account that is publicly subscribed to nothing answers as one
// that does not exist (XEP-0465#security).
func (s *Service) hidden(n *node, who jid.JID) bool {
	return s.kept(n.name) && n.name == NSFollowing && n.items == 0 && who.Bare() != n.at
}

// publicField returns the option by which a subscription is made public and private again. XEP-0465 has <public/> in <subscribe/>
// for that, which wins.
// COMPAT: Libervia 0.9 (2026-11) sends the field and no element.
func publicField(t dataform.Type, x subscription) dataform.Field {
	f := dataform.Field{Var: FieldPublic, Type: dataform.Boolean, Values: []string{"0"}}
	if x.public {
		f.Values = []string{"1"}
	}
	if t == dataform.TypeForm {
		f.Label = "Others may know of the subscription"
	}
	return f
}

// putSubscription stores a subscription that was another one before, and keeps the node of public subscribers in step. The lock of
// the node is held.
func (s *Service) putSubscription(ctx context.Context, n *node, was, now subscription) error {
	st := &steps{more: []func(tx mod.Tx) error{func(tx mod.Tx) error { return s.store.setSubscription(ctx, tx, n, now) }}}
	if err := s.publicly(ctx, st, n, was, now); err != nil {
		return err
	}
	return s.apply(ctx, n.at, st)
}

// publicly adds to the steps that change a subscription what the node of public subscribers becomes by it
// (XEP-0465#retrieving_public_subscribers). An address is there once, however many of its resources are subscribed.
func (s *Service) publicly(ctx context.Context, st *steps, n *node, was, now subscription) error {
	had, has := was.public && was.state == Subscribed, now.public && now.state == Subscribed
	if had == has || s.kept(n.name) {
		return nil
	}
	who := now.jid.Bare()
	if !has {
		others, err := s.store.subscriptionsOf(ctx, n.at, who, n.name, s.now())
		if err != nil {
			return err
		}
		for _, o := range others {
			if o.jid != now.jid && o.public && o.state == Subscribed {
				return nil
			}
		}
	}
	name := nsFollowers + n.name
	to, err := s.store.node(ctx, n.at, name)
	fresh := errors.Is(err, errNoNode)
	switch {
	case fresh && !has:
		return nil
	case fresh:
		to = s.beside(n, name)
		to.config.Publish = PublishPublishers
	case err != nil:
		return err
	}
	if !has {
		st.all = append(st.all, &step{n: to, del: []string{who.String()}})
		return nil
	}
	x := xmlstream.El(NSPublic, "subscriber", xmlstream.A("jid", who.String()))
	i := &item{id: who.String(), publisher: n.creator, stamp: s.now(), payload: x.String()}
	i.created = i.stamp
	st.all = append(st.all, &step{n: to, fresh: fresh, put: i})
	return nil
}

// endLeases ends public subscriptions whose time is over, so that nobody is named who is subscribed no more.
func (s *Service) endLeases(ctx context.Context) error {
	list, err := s.store.ended(ctx, s.now())
	if err != nil {
		return err
	}
	for _, x := range list {
		if !s.serves(x.service) {
			continue
		}
		if err := s.end(ctx, x.service, x.subscribedAt, func(now subscription) bool { return now.state == NotSub }); err != nil {
			return err
		}
	}
	return nil
}

// end ends a subscription of somebody who is not there to do so, if what it is by now is such that it ends.
func (s *Service) end(ctx context.Context, at jid.JID, x subscribedAt, ends func(now subscription) bool) error {
	defer s.turn(at, x.node).Unlock()
	n, err := s.store.node(ctx, at, x.node)
	if errors.Is(err, errNoNode) {
		return nil
	}
	if err != nil {
		return err
	}
	now, err := s.store.subscription(ctx, n, x.jid, s.now())
	if err != nil || !ends(now) {
		return err
	}
	gone := x.subscription
	gone.state = NotSub
	return s.putSubscription(ctx, n, x.subscription, gone)
}

// unfollow deletes an address from the nodes of public subscribers, within the transaction that deletes its subscriptions.
func (s store) unfollow(ctx context.Context, tx mod.Tx, who jid.JID) error {
	rows, err := tx.Query(ctx, `SELECT DISTINCT f.num FROM pubsub_subscription s JOIN pubsub_node n ON n.num = s.node
		JOIN pubsub_node f ON f.service = n.service AND f.name = ? || n.name WHERE s.bare = ? AND s.public`, nsFollowers, who.String())
	if err != nil {
		return err
	}
	nums, err := collect(rows, scanNum)
	for i := 0; err == nil && i < len(nums); i++ {
		_, err = s.delete(ctx, tx, &node{num: nums[i]}, who.String())
	}
	return err
}

func scanNum(r scanner) (num int64, err error) {
	err = r.Scan(&num)
	return num, err
}
