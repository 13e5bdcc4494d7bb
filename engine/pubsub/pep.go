package pubsub

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// notify is what a client adds to the name of a node to announce its interest (XEP-0060#filtered-notifications).
const notify = "+notify"

// interested returns the resources that announce their interest in a node of an account: the account's own, those of
// contacts who may see its presence and read the node (XEP-0163#notify), and those of whoever else shares its presence. Who skip names
// is told already.
func (s *Service) interested(ctx context.Context, n *node, skip func(bare jid.JID) bool) ([]jid.JID, error) {
	if !s.implicit() {
		return nil, nil
	}
	feature := n.name + notify
	to := s.announcing(n.at, n.at, feature)
	contacts, err := s.h.Roster().Contacts(ctx, n.at)
	if err != nil {
		return nil, err
	}
	for _, c := range contacts {
		if c.Subscription&mod.SubFrom == 0 || skip(c.JID) {
			continue
		}
		more := s.announcing(n.at, c.JID, feature)
		if len(more) == 0 {
			continue
		}
		ok, err := s.reads(ctx, n, c.JID)
		if err != nil {
			return nil, err
		}
		if ok {
			to = append(to, more...)
		}
	}
	for _, p := range s.sharers.of(n.at) {
		if skip(p.From.Bare()) || !s.understands(p, feature) || slices.Contains(to, p.From) {
			continue
		}
		ok, err := s.implied(ctx, n, p.From)
		if err != nil {
			return nil, err
		}
		if ok {
			to = append(to, p.From)
		}
	}
	return to, nil
}

// implied tells whether presence subscribes a resource to a node of an account, which it may read: one of the account itself, one of a
// contact who sees the account's presence, and to an open node that of whoever shares its own with the account
// (XEP-0060#auto-subscribe).
func (s *Service) implied(ctx context.Context, n *node, who jid.JID) (bool, error) {
	if who.Bare() != n.at {
		c, _, err := s.h.Roster().Contact(ctx, n.at, who.Bare())
		if err != nil {
			return false, err
		}
		if c.Subscription&mod.SubFrom == 0 && (n.config.Access != AccessOpen || !s.sharers.has(n.at, who)) {
			return false, nil
		}
	}
	return s.reads(ctx, n, who)
}

// announcing returns the available resources of somebody that announce a feature, as an account knows of them.
func (s *Service) announcing(account, who jid.JID, feature string) (to []jid.JID) {
	for _, t := range s.h.Sessions(who) {
		if p := t.Presence(); p != nil && s.understands(p, feature) {
			to = append(to, t.JID())
		}
	}
	for _, p := range s.remote.of(account, who) {
		if s.understands(p, feature) {
			to = append(to, p.From)
		}
	}
	return to
}

// resources returns where a subscriber of an account is told: of a bare address at the resources that announce interest, as far as any is
// known to (XEP-0163#notify-num).
func (s *Service) resources(n *node, subscriber jid.JID) []jid.JID {
	if subscriber.IsBare() {
		if to := s.announcing(n.at, subscriber, n.name+notify); len(to) > 0 {
			return to
		}
	}
	return []jid.JID{subscriber}
}

// presences returns all that an account knows of the presence of somebody, of each resource once.
func (s *Service) presences(account, who jid.JID) (list []*stanza.Stanza) {
	for _, t := range s.h.Sessions(who) {
		if p := t.Presence(); p != nil {
			list = append(list, p)
		}
	}
	list = append(list, s.remote.of(account, who)...)
	for _, p := range s.sharers.of(account) {
		if p.From.Bare() == who && !slices.ContainsFunc(list, func(o *stanza.Stanza) bool { return o.From == p.From }) {
			list = append(list, p)
		}
	}
	return list
}

// implicit tells whether presence subscribes (XEP-0060#auto-subscribe).
func (s *Service) implicit() bool {
	return s.Has(featureAutoSubscribe) && s.Has(featurePresenceSubscribe)
}

func (s *Service) understands(presence *stanza.Stanza, feature string) bool {
	if !s.Has(featureFilteredNotifications) {
		return true
	}
	f, _ := s.h.Capabilities().Features(presence)
	return slices.Contains(f, feature)
}

// reads tells whether somebody may read a node.
func (s *Service) reads(ctx context.Context, n *node, who jid.JID) (bool, error) {
	err := s.mayRead(ctx, n, who)
	var se *stanza.Error
	if errors.As(err, &se) {
		return false, nil
	}
	return err == nil, err
}

// Online sends a resource of a local account, whose client understands these features, the last items of the nodes that it
// announced interest in: its own, and those of its contacts on this host (XEP-0163#notify-last). Of what was published after since, when that
// came to be known, it has been told.
func (s *Service) Online(ctx context.Context, who jid.JID, features []string, since time.Time) error {
	w := wish{names: wanted(features), since: since}
	if len(w.names) == 0 || !s.implicit() {
		return nil
	}
	if err := s.sendLasts(ctx, who.Bare(), who, w); err != nil {
		return err
	}
	contacts, err := s.h.Roster().Contacts(ctx, who.Bare())
	if err != nil {
		return err
	}
	for _, c := range contacts {
		if c.Subscription&mod.SubTo == 0 || c.JID.DomainJID() != s.h.Domain() || c.JID == who.Bare() {
			continue
		}
		if err := s.sendLasts(ctx, c.JID, who, w); err != nil {
			return err
		}
	}
	return nil
}

// RemoteOnline does the same for a resource of which one account has the presence: one elsewhere, or that of a stranger.
func (s *Service) RemoteOnline(ctx context.Context, account, who jid.JID, features []string, since time.Time) error {
	if w := (wish{names: wanted(features), since: since}); len(w.names) > 0 && s.implicit() {
		return s.sendLasts(ctx, account, who, w)
	}
	return nil
}

// wish says which last items are wanted.
type wish struct {
	names []string           // of nodes
	since time.Time          // items that were published later are not
	which func(n *node) bool // of the nodes those that this accepts, where it is not nil
}

// wanted returns the names of the nodes in a client's features.
func wanted(features []string) (names []string) {
	for _, f := range features {
		if n, ok := strings.CutSuffix(f, notify); ok {
			names = append(names, n)
		}
	}
	return names
}

// sendLasts sends somebody the last items of an account's nodes.
func (s *Service) sendLasts(ctx context.Context, account, to jid.JID, w wish) error {
	k, err := s.known(ctx, account)
	if err != nil {
		return err
	}
	for _, n := range k.nodes {
		if n.config.SendLast != SendOnSubPresence || !n.config.Notify || !slices.Contains(w.names, n.name) || w.which != nil && !w.which(n) {
			continue
		}
		ok, err := s.implied(ctx, n, to)
		if err != nil {
			return err
		}
		if ok {
			if err := s.lastInTurn(ctx, n.at, n.name, to, w.since); err != nil {
				return err
			}
		}
	}
	return nil
}

// lastInTurn sends the last item of a node in order with the notifications of new items, unless it is a new one.
func (s *Service) lastInTurn(ctx context.Context, account jid.JID, name string, to jid.JID, since time.Time) error {
	defer s.turn(account, name).Unlock()
	n, i, err := s.lastKnown(ctx, account, name)
	if i != nil && !i.stamp.After(since) {
		s.sendItem(ctx, n, i, to, false)
	}
	return err
}

// known is what is remembered of an account: its nodes, and of some the last item. It is forgotten when anything changes.
type known struct {
	nodes []*node
	mu    sync.Mutex
	last  map[string]*item // nil for a node without items
}

// node returns a node, or nil.
func (k *known) node(name string) *node {
	if i := slices.IndexFunc(k.nodes, func(n *node) bool { return n.name == name }); i >= 0 {
		return k.nodes[i]
	}
	return nil
}

// maxKept bounds the payloads that are remembered, in bytes: of an avatar that is the metadata and not the picture.
const maxKept = 4 << 10

// known returns what is remembered of an account, which is read where it changed.
func (s *Service) known(ctx context.Context, account jid.JID) (*known, error) {
	if k, ok := s.names.Get(account); ok {
		return k, nil
	}
	before := s.writes.Load()
	list, err := s.store.nodes(ctx, account)
	if err != nil {
		return nil, err
	}
	k := &known{nodes: list, last: make(map[string]*item)}
	if s.writes.Load() == before {
		s.names.Put(account, k)
	}
	if s.writes.Load() != before { // a write came between: it may not have seen what was put
		s.names.Delete(account)
	}
	return k, nil
}

// lastKnown returns a node and its last item, or nil where there is none.
func (s *Service) lastKnown(ctx context.Context, account jid.JID, name string) (*node, *item, error) {
	k, err := s.known(ctx, account)
	if err != nil {
		return nil, nil, err
	}
	n := k.node(name)
	if n == nil {
		return nil, nil, nil
	}
	k.mu.Lock()
	i, ok := k.last[name]
	k.mu.Unlock()
	if !ok {
		if i, err = s.store.last(ctx, n, s.since(n)); err != nil {
			return nil, nil, err
		}
		if i == nil || len(i.payload) <= maxKept {
			k.mu.Lock()
			k.last[name] = i
			k.mu.Unlock()
		}
	}
	if i != nil && i.stamp.Before(s.since(n)) {
		i = nil
	}
	return n, i, nil
}
