package pubsub

import (
	"context"
	"time"
)

// Of some nodes the subscriptions are kept in memory, since reading ten thousand of them takes as long as encoding what they are told. How often they
// have changed is in the row of the node, which is read with its lock held, in the same transactions; so nothing has to be forgotten.
const (
	// rememberedLists is for how many nodes that is.
	rememberedLists = 16
	// shortList and longList are of how many subscriptions: fewer are read quickly, more take much memory.
	shortList, longList = 50, 20_000
)

// subscriptions are those of a node when they had changed so often.
type subscriptions struct {
	changes int64
	all     []subscription
	ends    time.Time // when the first of them ends; zero: never
}

// subscribedTo returns the subscriptions of a node that was read from the database since its lock is held. The slice is shared.
func (s *Service) subscribedTo(ctx context.Context, n *node) ([]subscription, error) {
	now := s.now()
	if k, ok := s.readers.Get(n.num); ok && k.changes == n.subscribed && (k.ends.IsZero() || now.Before(k.ends)) {
		return k.all, nil
	}
	all, err := s.store.subscriptions(ctx, n, now)
	if err != nil || len(all) < shortList || len(all) > longList {
		return all, err
	}
	k := subscriptions{changes: n.subscribed, all: all}
	for _, x := range all {
		if !x.expires.IsZero() && (k.ends.IsZero() || x.expires.Before(k.ends)) {
			k.ends = x.expires
		}
	}
	s.readers.Put(n.num, k)
	return all, nil
}
