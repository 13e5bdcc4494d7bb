package pubsub

import (
	"context"
	"errors"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// Changed is a change that is about to be made at a node of an account: an item is published, or deleted. Without an ID all
// items are deleted.
type Changed struct {
	mod.NodeChange
	// Access is the access model of the node.
	Access AccessModel
}

// Followed is what a change brings with it.
type Followed struct {
	// Changes are those of other nodes of the account.
	Changes []mod.NodeChange
	// Write, where it is not nil, joins the commit. It obeys the rules of DB.Write.
	Write func(tx mod.Tx) error
	// Done, where it is not nil, is called after the commit. It does not wait for anything.
	Done func()
}

// step is the change of one node: what is put, or deleted.
type step struct {
	n     *node
	fresh bool // n is yet to be stored
	put   *item
	del   []string
	gone  []string // what had to go to make room
	close bool     // the node becomes one for its owner alone
}

// steps are changes that are committed together.
type steps struct {
	all  []*step
	more []func(tx mod.Tx) error
	done []func()
}

// follow adds what a change of a client brings with it.
func (s *Service) follow(ctx context.Context, st *steps, c Changed, n *node) error {
	if err := s.summarize(ctx, st, n, c); err != nil {
		return err
	}
	if s.o.Follow == nil {
		return nil
	}
	c.Access = n.config.Access
	f, err := s.o.Follow(ctx, n.at, c)
	if err != nil {
		return err
	}
	for _, k := range f.Changes {
		if err := s.plan(ctx, st, n.at, n.at, k); err != nil {
			return err
		}
	}
	if f.Write != nil {
		st.more = append(st.more, f.Write)
	}
	if f.Done != nil {
		st.done = append(st.done, f.Done)
	}
	return nil
}

// plan adds a change that the server makes in the name of an account, or of itself, at a service whose lock is held.
func (s *Service) plan(ctx context.Context, st *steps, at, who jid.JID, c mod.NodeChange) error {
	n, err := s.store.node(ctx, at, c.Node)
	absent := errors.Is(err, errNoNode)
	switch {
	case absent && c.Payload == nil:
		return nil
	case absent:
		if n, err = s.fresh(ctx, &request{at: at, from: who}, c.Node); err != nil {
			return err
		}
		n.config = configured(n.config, c)
		for _, o := range st.all { // an item before it makes the node
			if o.fresh && o.n.name == n.name {
				n, absent = o.n, false
			}
		}
	case err != nil:
		return err
	case !s.o.PEP && n.creator != who:
		return stanza.Errf(stanza.Conflict, "the node %s is that of %s", c.Node, n.creator)
	}
	shut := c.Private && !absent && n.config.Access != AccessWhitelist
	if shut { // XEP-0411#security, XEP-0490#rules-server
		m := *n
		m.config.Access, n = AccessWhitelist, &m
	}
	if c.Payload == nil {
		st.all = append(st.all, &step{n: n, del: []string{c.ID}, close: shut})
		return nil
	}
	i := &item{id: c.ID, publisher: who, stamp: s.now(), payload: c.Payload.String()}
	i.created = i.stamp
	if len(i.id) > maxName || len(i.payload) > s.o.Limits.Payload {
		return fault(stanza.NotAcceptable, "payload-too-big")
	}
	st.all = append(st.all, &step{n: n, fresh: absent, put: i, close: shut})
	return nil
}

// configured returns the configuration of a node that is made for a change.
func configured(c Config, by mod.NodeChange) Config {
	c.Access = AccessOpen
	if by.Private {
		c.Access = AccessWhitelist // XEP-0223#approach
	}
	c.MaxItems = 1
	if by.Many {
		c.MaxItems, c.SendLast = 0, SendNever // as clients ask for it by publish-options: XEP-0402#adding-a-bookmark
	}
	return c
}

// apply commits changes and tells of them.
func (s *Service) apply(ctx context.Context, at jid.JID, st *steps) error {
	if err := s.commit(ctx, at, st); err != nil {
		return err
	}
	for _, p := range st.all {
		s.changed(p.n)
		s.tell(ctx, p)
	}
	for _, f := range st.done {
		f()
	}
	return nil
}

func (s *Service) commit(ctx context.Context, at jid.JID, st *steps) error {
	idle := len(st.more) == 0
	for _, p := range st.all {
		s.note(p.n.config)
		idle = idle && !p.fresh && !p.close && !p.n.config.Persist
	}
	if idle {
		return nil
	}
	return s.write(ctx, at, func(tx mod.Tx) error {
		for _, p := range st.all {
			if err := s.do1(ctx, tx, p); err != nil {
				return err
			}
		}
		for _, f := range st.more {
			if err := f(tx); err != nil {
				return err
			}
		}
		return nil
	})
}

// do1 stores a step, and makes room.
func (s *Service) do1(ctx context.Context, tx mod.Tx, p *step) error {
	p.gone = nil
	if p.fresh {
		made, err := s.store.create(ctx, tx, p.n)
		if err == nil && !made {
			err = stanza.Err(stanza.Conflict, "the node was made by somebody else just now")
		}
		if err != nil {
			return err
		}
	}
	if p.close {
		if err := s.store.configure(ctx, tx, p.n, p.n.config); err != nil {
			return err
		}
	}
	if !p.n.config.Persist {
		return nil
	}
	for _, id := range p.del {
		if _, err := s.store.delete(ctx, tx, p.n, id); err != nil {
			return err
		}
	}
	if p.put == nil {
		return nil
	}
	added, err := s.store.put(ctx, tx, p.n, p.put)
	if err == nil && added {
		p.gone, err = s.makeRoom(ctx, tx, p.n)
	}
	if err != nil {
		return err
	}
	most := int64(s.o.Limits.Stored)
	if most == 0 {
		return nil
	}
	stored, err := s.store.stored(ctx, tx, p.n)
	if err == nil && stored > most {
		err = stanza.Errf(stanza.ResourceConstraint, "the nodes of %s hold no more than %d characters", p.n.creator, s.o.Limits.Stored).OfType(stanza.Cancel)
	}
	return err
}

// tell tells subscribers of a step.
func (s *Service) tell(ctx context.Context, p *step) {
	c := p.n.config
	if p.fresh {
		s.tellCreated(ctx, p.n)
	}
	if p.put != nil && c.Notify {
		s.announceItem(ctx, p.n, p.put)
	}
	if len(p.gone) > 0 && c.NotifyRetract && c.NodeFull == FullRetract && c.MaxItems != 1 {
		s.announce(ctx, p.n, retractEvent(p.n, p.gone...), nil)
	}
	if len(p.del) > 0 && c.NotifyRetract {
		s.announce(ctx, p.n, retractEvent(p.n, p.del...), nil)
	}
}

// Change implements part of mod.AccountNodes: changes that the server makes in the name of an account.
func (s *Service) Change(ctx context.Context, account jid.JID, list []mod.NodeChange, write func(tx mod.Tx) error) error {
	return s.Update(ctx, account, func(context.Context) ([]mod.NodeChange, func(mod.Tx) error, error) { return list, write, nil })
}

// Update implements part of mod.AccountNodes. The lock of the account is held while plan reads.
func (s *Service) Update(ctx context.Context, account jid.JID, plan func(context.Context) ([]mod.NodeChange, func(mod.Tx) error, error)) error {
	defer s.turn(account, "").Unlock()
	list, write, err := plan(ctx)
	if err != nil {
		return err
	}
	st := new(steps)
	for _, c := range list {
		if err := s.plan(ctx, st, account, account, c); err != nil {
			return err
		}
		access := AccessOpen
		if c.Private {
			access = AccessWhitelist
		}
		n := &node{at: account, config: Config{Access: access}}
		if k := len(st.all); k > 0 && st.all[k-1].n.name == c.Node {
			n = st.all[k-1].n
		}
		if err := s.follow(ctx, st, Changed{NodeChange: c}, n); err != nil {
			return err
		}
	}
	if write != nil {
		st.more = append(st.more, write)
	}
	return s.apply(ctx, account, st)
}

// Publish makes a change in the name of the server at a service of its own.
func (s *Service) Publish(ctx context.Context, c mod.NodeChange) error {
	defer s.turn(s.o.Domain, c.Node).Unlock()
	st := new(steps)
	if err := s.plan(ctx, st, s.o.Domain, s.h.Domain(), c); err != nil {
		return err
	}
	return s.apply(ctx, s.o.Domain, st)
}

// Item implements part of mod.AccountNodes.
func (s *Service) Item(ctx context.Context, at jid.JID, name, id string) (string, *xmlstream.Element, error) {
	k, err := s.known(ctx, at)
	if err != nil {
		return "", nil, err
	}
	var i *item
	if id == "" {
		_, i, err = s.lastKnown(ctx, at, name)
	} else if n := k.node(name); n != nil {
		i, err = s.store.item(ctx, n, id, s.since(n))
	}
	if err != nil || i == nil || i.payload == "" {
		return "", nil, err
	}
	x, err := i.node()
	return i.id, x.El, err
}

// Exists tells whether an account has a node. As a rule that is remembered.
func (s *Service) Exists(ctx context.Context, account jid.JID, name string) (bool, error) {
	k, err := s.known(ctx, account)
	return err == nil && k.node(name) != nil, err
}

// Each calls f with the items of a node, newest first, until it returns false.
func (s *Service) Each(ctx context.Context, at jid.JID, name string, f func(id string, payload *xmlstream.Element) bool) error {
	n, err := s.store.node(ctx, at, name)
	if errors.Is(err, errNoNode) {
		return nil
	}
	if err != nil {
		return err
	}
	list, err := s.store.page(ctx, n, page{limit: int(s.maxItems(n)), since: s.since(n)})
	if err != nil {
		return err
	}
	for _, i := range list {
		k, err := i.node()
		if err != nil {
			return err
		}
		if !f(i.id, k.El) {
			return nil
		}
	}
	return nil
}

// MayRead implements part of mod.AccountNodes.
func (s *Service) MayRead(ctx context.Context, at, who jid.JID, name string) (bool, error) {
	n, err := s.store.node(ctx, at, name)
	if errors.Is(err, errNoNode) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return s.reads(ctx, n, who)
}
