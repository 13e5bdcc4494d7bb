package pubsub

import (
	"context"
	"slices"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/dataform"
	"sabir/xmpp/payload/rsm"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// NSFilter qualifies the element by which a request for nodes names types of nodes (XEP-0462).
const NSFilter = "urn:xmpp:pubsub-filter:0"

// Filter chooses nodes by their type (XEP-0462#sending-a-disco-request). The zero value takes all.
type Filter struct{ included, excluded *dataform.Field }

// ParseFilter reads the <filter/> of a request for service discovery, where it has one.
func (s *Service) ParseFilter(query *xmlstream.Element) (Filter, error) {
	x := query.Child(NSFilter, "filter")
	if x == nil || !s.Has(NSFilter) {
		return Filter{}, nil
	}
	f, err := dataform.Parse(x.Child(dataform.NS, "x"))
	if err != nil {
		return Filter{}, stanza.Errf(stanza.BadRequest, "filter: %v", err)
	}
	out := Filter{f.Field("included-types"), f.Field("excluded-types")}
	if out.included != nil && out.excluded != nil {
		return Filter{}, stanza.Err(stanza.BadRequest, "filter: types are included or excluded, not both")
	}
	return out, nil
}

func (f Filter) takes(typ string) bool {
	switch {
	case f.included != nil:
		return slices.Contains(f.included.Values, typ)
	case f.excluded != nil:
		return !slices.Contains(f.excluded.Values, typ)
	}
	return true
}

// Nodes returns the nodes of a service that somebody may know of (XEP-0060#entity-nodes).
func (s *Service) Nodes(ctx context.Context, at, who jid.JID, f Filter) ([]mod.DiscoItem, error) {
	all, err := s.store.nodes(ctx, at)
	if err != nil {
		return nil, err
	}
	var out []mod.DiscoItem
	for _, n := range all {
		ok, err := s.lists(ctx, n, who, f)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, mod.DiscoItem{JID: at, Node: n.name, Name: n.config.Title})
		}
	}
	return out, nil
}

const (
	// counted is how many nodes a service may have for its list to be read whole, so that a page tells of how many it is one.
	counted = 2000
	// listed and listedBytes are how many nodes a page has at most otherwise, and about how large it is.
	listed, listedBytes = 1000, 256 << 10
	// batch is how many nodes are read at a time.
	batch = 200
)

// Listing answers a request for the nodes of a service (XEP-0060#entity-nodes), in pages (XEP-0059). What a page costs does not depend on how many
// nodes a service has, but for those in between that who asks may not know of, or does not want.
func (s *Service) Listing(ctx context.Context, at, who jid.JID, query *xmlstream.Element) ([]mod.DiscoItem, *xmlstream.Element, error) {
	f, err := s.ParseFilter(query)
	if err != nil {
		return nil, nil, err
	}
	many, err := s.store.moreThan(ctx, at, counted)
	if err != nil {
		return nil, nil, err
	}
	if !many {
		all, err := s.Nodes(ctx, at, who, f)
		if err != nil {
			return nil, nil, err
		}
		return mod.PageItems(query, all)
	}
	q, set := rsm.All(), query.Child(rsm.NS, "set")
	if set != nil {
		if q, err = rsm.Parse(set); err != nil {
			return nil, nil, stanza.Errf(stanza.BadRequest, "%v", err)
		}
	}
	if q.Index > 0 {
		return nil, nil, stanza.Err(stanza.FeatureNotImplemented, "pages are asked for by the name of a node")
	}
	w := walk{from: q.After + q.Before, backward: q.Last || q.Before != "", limit: listed}
	if w.from != "" {
		if n, err := s.visible(ctx, at, who, w.from); n == nil || err != nil {
			if err == nil {
				err = stanza.Err(stanza.ItemNotFound, "there is no such node to count from")
			}
			return nil, nil, err
		}
	}
	if q.Max >= 0 {
		w.limit = min(q.Max, listed)
	}
	return s.walk(ctx, at, who, f, w, set != nil)
}

// walk says which nodes of a service are wanted, in the order of their names: from one on, exclusive, "" for an end.
type walk struct {
	from     string
	backward bool
	limit    int // 0: how many there are
}

// walk returns the nodes of a walk, and the <set/> that goes with them: where one was asked for, or there are more.
func (s *Service) walk(ctx context.Context, at, who jid.JID, f Filter, w walk, asked bool) (list []mod.DiscoItem, set *xmlstream.Element, err error) {
	count, size, more := int64(0), listedBytes, false
	for done := false; !done && !more; {
		some, err := s.store.nodesFrom(ctx, at, w.from, w.backward)
		if err != nil {
			return nil, nil, err
		}
		done = len(some) < batch
		for _, n := range some {
			w.from = n.name
			if ok, err := s.lists(ctx, n, who, f); err != nil {
				return nil, nil, err
			} else if !ok {
				continue
			}
			count++
			if w.limit == 0 {
				continue
			}
			size -= len(n.name) + len(n.config.Title) + 64
			if more = len(list) == w.limit || len(list) > 0 && size < 0; more {
				break
			}
			list = append(list, mod.DiscoItem{JID: at, Node: n.name, Name: n.config.Title})
		}
	}
	if w.backward {
		slices.Reverse(list)
	}
	if !asked && !more {
		return list, nil, nil
	}
	a := rsm.Answer{Index: -1, Count: -1}
	if w.limit == 0 {
		a.Count = count
	}
	if len(list) > 0 {
		a.First, a.Last = list[0].Node, list[len(list)-1].Node
	}
	return list, a.Element(), nil
}

// lists tells whether a node is in a list for somebody.
func (s *Service) lists(ctx context.Context, n *node, who jid.JID, f Filter) (bool, error) {
	if !f.takes(n.config.Type) || s.hidden(n, who) {
		return false, nil
	}
	return s.shows(ctx, n, who)
}

// Items returns the items of a node for service discovery (XEP-0060#entity-discoveritems); ok is false where there is no node that who
// asks may read.
func (s *Service) Items(ctx context.Context, at, who jid.JID, name string) (items []mod.DiscoItem, ok bool, err error) {
	n, err := s.visible(ctx, at, who, name)
	if n == nil || err != nil {
		return nil, false, err
	}
	if err := s.mayRead(ctx, n, who); err != nil {
		return nil, false, err
	}
	ids, err := s.store.ids(ctx, n, s.since(n), s.o.Limits.Items)
	for _, id := range ids {
		items = append(items, mod.DiscoItem{JID: at, Name: id})
	}
	return items, true, err
}

// moreThan tells whether a service has more nodes than that.
func (s store) moreThan(ctx context.Context, at jid.JID, most int) (bool, error) {
	rows, err := s.db.Query(ctx, `SELECT name FROM pubsub_node WHERE service = ? ORDER BY name LIMIT 1 OFFSET ?`, at.String(), most)
	if err != nil {
		return false, err
	}
	list, err := collect(rows, scanID)
	return len(list) > 0, err
}

const (
	nodesUp   = `SELECT ` + nodeFields + ` FROM pubsub_node WHERE service = ? AND name > ? ORDER BY name LIMIT ?`
	nodesDown = `SELECT ` + nodeFields + ` FROM pubsub_node WHERE service = ? AND name < ? ORDER BY name DESC LIMIT ?`
	nodesLast = `SELECT ` + nodeFields + ` FROM pubsub_node WHERE service = ? AND name <> ? ORDER BY name DESC LIMIT ?`
)

// nodesFrom returns a batch of a service's nodes in the order of their names, from one on, exclusive, "" for an end.
func (s store) nodesFrom(ctx context.Context, at jid.JID, name string, backward bool) ([]*node, error) {
	query := nodesUp
	switch {
	case backward && name == "":
		query = nodesLast
	case backward:
		query = nodesDown
	}
	rows, err := s.db.Query(ctx, query, at.String(), name, batch)
	if err != nil {
		return nil, err
	}
	return collect(rows, scanNode)
}
