package pubsub

import (
	"context"
	"errors"
	"time"

	"sabir/mod"
	"sabir/xmpp/jid"
)

// expireEvery is how often expired items are deleted. Nobody gets them any more from the moment on that they expire.
const expireEvery = 10 * time.Minute

// Start begins to delete expired items (pubsub#item_expire). It belongs into the hook of this name.
func (s *Service) Start(ctx context.Context) error {
	some, err := s.store.purging(ctx)
	if err != nil {
		return err
	}
	if some {
		s.purging.Store(true)
	}
	s.h.Go("expire", func(ctx context.Context) {
		t := time.NewTicker(expireEvery)
		defer t.Stop()
		for {
			if err := s.Expire(ctx); err != nil && ctx.Err() == nil {
				s.h.Log().Error("expired items were not deleted", "error", err)
			}
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
		}
	})
	return nil
}

// Expire deletes the items that are expired now, and public subscriptions.
func (s *Service) Expire(ctx context.Context) error {
	if err := s.endLeases(ctx); err != nil {
		return err
	}
	list, err := s.store.expiring(ctx)
	if err != nil {
		return err
	}
	for _, n := range list {
		if !s.serves(n.at) {
			continue
		}
		if err := s.expire(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// expire deletes those of one node.
func (s *Service) expire(ctx context.Context, n *node) error {
	defer s.turn(n.at, n.name).Unlock()
	n, err := s.store.node(ctx, n.at, n.name)
	if errors.Is(err, errNoNode) || err == nil && n.config.ItemExpire == 0 {
		return nil // since it was listed
	}
	if err != nil {
		return err
	}
	gone := 0
	err = s.write(ctx, n.at, func(tx mod.Tx) error {
		ids, err := s.store.expired(ctx, tx, n, s.since(n))
		gone = len(ids)
		for _, id := range ids {
			if _, err := s.store.delete(ctx, tx, n, id); err != nil {
				return err
			}
		}
		return err
	})
	if err == nil && gone > 0 {
		s.lapsed(ctx, n)
	}
	return err
}

// Offline deletes the items that go with their publisher's presence (pubsub#purge_offline). It is called after the last
// resource of an account has gone.
func (s *Service) Offline(ctx context.Context, account jid.JID) error {
	if !s.purging.Load() {
		return nil
	}
	list, err := s.store.offline(ctx, account)
	if err != nil {
		return err
	}
	for _, o := range list {
		if !s.serves(o.service) {
			continue
		}
		if err := s.forget(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// note remembers that a node is about to be stored whose items go with their publishers.
func (s *Service) note(c Config) {
	if c.PurgeOffline {
		s.purging.Store(true)
	}
}

// serves tells whether an address is one of this service.
func (s *Service) serves(at jid.JID) bool {
	if s.o.PEP {
		return at.Local() != "" && at.DomainJID() == s.h.Domain()
	}
	return at == s.o.Domain
}

func (s *Service) forget(ctx context.Context, o offlineItem) error {
	defer s.turn(o.service, o.node).Unlock()
	n, err := s.store.node(ctx, o.service, o.node)
	if errors.Is(err, errNoNode) {
		return nil
	}
	if err != nil {
		return err
	}
	err = s.write(ctx, n.at, func(tx mod.Tx) error {
		_, err := s.store.delete(ctx, tx, n, o.id)
		return err
	})
	if err != nil {
		return err
	}
	s.lapsed(ctx, n)
	if n.config.NotifyRetract {
		s.announce(ctx, n, retractEvent(n, o.id), nil)
	}
	return nil
}
