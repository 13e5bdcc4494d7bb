package pubsub

import (
	"context"
	"math"
	"strconv"

	"sabir/xmpp/payload/rsm"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// NSOrder qualifies the element by which a request orders the items (XEP-0413).
const NSOrder = "urn:xmpp:order-by:1"

// retrieve returns items of a node (XEP-0060#subscriber-retrieve): those that are named, or a page (XEP-0059), newest
// first where the request has no order (XEP-0413).
func (s *Service) retrieve(ctx context.Context, r *request, x *xmlstream.Element) (*xmlstream.Element, error) {
	n, err := s.find(ctx, r, x)
	if err != nil {
		return nil, err
	}
	if err := s.mayRead(ctx, n, r.from); err != nil {
		return nil, err
	}
	if x.Attr("subid") != "" { // no subscription has one (XEP-0060#subscriber-retrieve-error-badsubid)
		return nil, fault(stanza.NotAcceptable, "invalid-subid")
	}
	if err := n.persistent(); err != nil {
		return nil, err
	}
	if ids, err := itemIDs(x); err != nil || ids != nil {
		if err != nil {
			return nil, err
		}
		return s.named(ctx, n, r, ids)
	}
	p, count, err := s.asked(r.payload, x)
	if err != nil {
		return nil, err
	}
	p.since, p.bytes = s.since(n), r.room
	if err := s.cursors(ctx, n, p); err != nil {
		return nil, err
	}
	list, err := s.store.page(ctx, n, p)
	if err != nil {
		return nil, err
	}
	out, err := itemsElement(n, list)
	if err != nil {
		return nil, err
	}
	held, err := s.store.unexpired(ctx, n, p.since)
	if err != nil {
		return nil, err
	}
	if s.Has(featureRSM) && (count || int64(len(list)) < held) {
		a := rsm.Answer{Index: -1, Count: held}
		if len(list) > 0 {
			a.First, a.Last = list[0].id, list[len(list)-1].id
			if a.Index, err = s.store.behindOf(ctx, n, a.First, p); err != nil {
				return nil, err
			}
		}
		out.Add(a.Element())
	}
	return out, nil
}

// named returns the items of these ids, as many as there is room for (XEP-0060#subscriber-retrieve-returnsome).
func (s *Service) named(ctx context.Context, n *node, r *request, ids []string) (*xmlstream.Element, error) {
	var list []*item
	left, all := r.room, true
	for _, id := range ids {
		i, err := s.store.item(ctx, n, id, s.since(n))
		if err != nil {
			return nil, err
		}
		if i == nil {
			continue
		}
		if left -= i.size(); left < 0 && len(list) > 0 {
			all = false
			break
		}
		list = append(list, i)
	}
	out, err := itemsElement(n, list)
	if err == nil && !all && s.Has(featureRSM) {
		out.Add(rsm.Answer{Index: 0, First: list[0].id, Last: list[len(list)-1].id, Count: int64(len(ids))}.Element())
	}
	return out, err
}

// itemIDs returns the ids of the items that a request names, each once, or nil.
func itemIDs(x *xmlstream.Element) ([]string, error) {
	var ids []string
	seen := make(map[string]bool)
	for k := range x.Elements() {
		if !k.Is(NS, "item") {
			continue
		}
		if k.Attr("id") == "" {
			return nil, fault(stanza.BadRequest, "item-required")
		}
		if id := k.Attr("id"); !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// itemsElement returns items of a node as the answer to a request for them.
func itemsElement(n *node, list []*item) (*xmlstream.Element, error) {
	items := xmlstream.El(NS, "items", xmlstream.A("node", n.name))
	for _, i := range list {
		e := xmlstream.El(NS, "item", xmlstream.A("id", i.id))
		if n.tells(i) {
			e.Add(xmlstream.A("publisher", i.publisher.String()))
		}
		if i.payload != "" {
			payload, err := i.node()
			if err != nil {
				return nil, err
			}
			e.Add(payload)
		}
		items.Add(e)
	}
	return result(NS, items), nil
}

// asked reads which page is wanted. count says that the request was for a page (XEP-0059), so that the answer tells which
// one it is.
func (s *Service) asked(pubsub, x *xmlstream.Element) (p page, count bool, err error) {
	p.limit = s.o.Limits.Items
	if v := x.Attr("max_items"); v != "" && v != unlimited {
		n, err := strconv.ParseUint(v, 10, 31)
		if err != nil || n == 0 {
			return p, false, stanza.Err(stanza.BadRequest, "max_items is a number")
		}
		p.limit = min(p.limit, int(n))
	}
	if o := pubsub.Child(NSOrder, "order"); o != nil && s.Has(NSOrder) && s.Has(featureOrderPubsub) {
		switch o.Attr("by") {
		case "creation":
			p.creation = true
		case "modification":
		default:
			return p, false, stanza.Err(stanza.FeatureNotImplemented, "items are ordered by creation or modification")
		}
		p.asc = o.Attr("desc") != "true" && o.Attr("desc") != "1"
	}
	set := pubsub.Child(rsm.NS, "set")
	if set == nil || !s.Has(featureRSM) {
		return p, false, nil
	}
	q, err := rsm.Parse(set)
	if err != nil {
		return p, false, stanza.Errf(stanza.BadRequest, "%v", err)
	}
	if q.Index > 0 {
		return p, false, stanza.Err(stanza.FeatureNotImplemented, "pages are asked for by the id of an item")
	}
	if q.Max >= 0 {
		p.limit = min(p.limit, q.Max, math.MaxInt32)
	}
	p.after, p.before, p.last = q.After, q.Before, q.Last
	return p, true, nil
}

// cursors checks that the item is there by which a page is asked for (XEP-0059#forwards).
func (s *Service) cursors(ctx context.Context, n *node, p page) error {
	for _, id := range []string{p.after, p.before} {
		if id == "" {
			continue
		}
		i, err := s.store.item(ctx, n, id, s.since(n))
		if err != nil {
			return err
		}
		if i == nil {
			return stanza.Err(stanza.ItemNotFound, "there is no such item to count from")
		}
	}
	return nil
}
