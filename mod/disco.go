package mod

import (
	"context"
	"slices"

	"sabir/xmpp/jid"
	"sabir/xmpp/payload/dataform"
	wire "sabir/xmpp/payload/disco"
	"sabir/xmpp/payload/rsm"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// Info returns the answer in the form of the wire. Every place that tells about itself uses it, so that answers and the
// hashes over them (XEP-0115) agree.
func (d Disco) Info(node string) *wire.Info {
	i := &wire.Info{Node: node, Features: d.Features, Forms: d.Forms}
	for _, id := range d.Identities {
		i.Identities = append(i.Identities, wire.Identity{Category: id.Category, Type: id.Type, Lang: id.Lang, Name: id.Name})
	}
	return i
}

// pageBytes is how large a page is at most, about, and how much of a list is told who asks for no page. Other servers refuse larger
// stanzas, with the stream that brings them.
const pageBytes = 256 << 10

// PageItems cuts a list of items to the page that a request asks for (XEP-0059, XEP-0060#entity-nodes), or to the first one where all are too
// much for one answer, and returns the <set/> that goes with it: nil where the request asks for none and gets all. Items are known by node and name,
// those without by their addresses.
func PageItems(query *xmlstream.Element, all []DiscoItem) ([]DiscoItem, *xmlstream.Element, error) {
	x, q := query.Child(rsm.NS, "set"), rsm.All()
	if x != nil {
		var err error
		if q, err = rsm.Parse(x); err != nil {
			return nil, nil, stanza.Errf(stanza.BadRequest, "%v", err)
		}
	}
	from, to, limit := 0, len(all), len(all)
	if q.Max >= 0 {
		limit = min(q.Max, limit)
	}
	if id := q.After + q.Before; id != "" {
		at := slices.IndexFunc(all, func(i DiscoItem) bool { return i.key(query) == id })
		switch {
		case at < 0:
			return nil, nil, stanza.Err(stanza.ItemNotFound, "there is no such item to count from")
		case q.After != "":
			from = at + 1
		default:
			to = at
		}
	}
	if q.Index > 0 {
		from = min(q.Index, len(all))
	}
	if q.Last || q.Before != "" {
		from = max(from, to-limit)
	}
	page := all[from:min(to, from+limit)]
	if n := within(page, q.Last || q.Before != "", pageBytes); n < len(page) {
		if q.Last || q.Before != "" {
			from += len(page) - n
		}
		page = all[from : from+n]
	} else if x == nil {
		return all, nil, nil
	}
	a := rsm.Answer{Index: -1, Count: int64(len(all))}
	if len(page) > 0 {
		a.First, a.Last, a.Index = page[0].key(query), page[len(page)-1].key(query), int64(from)
	}
	return page, a.Element(), nil
}

// within returns how many items, from the first or from the last one, are no larger than that together, about; one always is.
func within(list []DiscoItem, backward bool, size int) (n int) {
	for ; n < len(list); n++ {
		i := list[n]
		if backward {
			i = list[len(list)-1-n]
		}
		size -= len(i.JID.String()) + len(i.Node) + len(i.Name) + 64
		if i.Form != nil {
			size -= len(i.Form.String())
		}
		if size < 0 {
			return max(1, n)
		}
	}
	return n
}

// key is what an item is known by within the answer to a query. In one that a form asks for, items of nodes name these
// (XEP-0499).
func (i DiscoItem) key(query *xmlstream.Element) string {
	switch {
	case i.Node != "" && i.Form == nil && query.Child(dataform.NS, "x") != nil:
		return i.Node + " " + i.Name
	case i.Node != "":
		return i.Node
	case i.Name != "":
		return i.Name
	}
	return i.JID.String()
}

// SeesPresence tells whether who may see the presence of account: the account itself, or somebody with a subscription to
// it (RFC 6121 §2.1.2.5: state from or both in the account's roster). Answers that depend on it must be the same for
// an account that does not exist.
func SeesPresence(ctx context.Context, r Roster, account, who jid.JID) (bool, error) {
	if who.Bare() == account {
		return true, nil
	}
	c, ok, err := r.Contact(ctx, account, who.Bare())
	return ok && c.Subscription&SubFrom != 0, err
}
