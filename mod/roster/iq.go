package roster

import (
	"cmp"
	"context"
	"slices"
	"strconv"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// interested is the session flag of a resource that asked for the roster, so that it gets pushes (RFC 6121 §2.2).
const interested = "roster.interested"

// pushWeight is about how many items of a roster make up the bytes of one push, whose iq and query come with each.
const pushWeight = 3

// get answers a roster get (RFC 6121 §2.1.3, §2.2, §2.6.2). It sends the answer itself, so that no push overtakes it.
func (x *extension) get(ctx context.Context, q *mod.Request) (*xmlstream.Element, error) {
	have, versioned := q.Payload.LookupAttr(xmlstream.Name{Local: "ver"})
	defer x.locks.lock(q.Account)()
	l, err := x.load(ctx, q.Account)
	if err != nil {
		return nil, err
	}
	var diff []push
	whole := true
	if versioned {
		if diff, whole, err = x.since(ctx, q.Account, l, have); err != nil {
			return nil, err
		}
	}
	q.Session.SetFlag(interested, "1")
	if !whole {
		q.Session.Send(q.Result(nil))
		for _, p := range diff {
			q.Session.Send(p.stanza())
		}
		return nil, mod.ErrAnswered
	}
	query := xmlstream.El(ns, "query", xmlstream.A("ver", strconv.FormatInt(l.ver, 10)))
	query.Nodes = make([]xmlstream.Node, 0, l.listed)
	for i := range l.all {
		if l.all[i].listed {
			query.Nodes = append(query.Nodes, xmlstream.Node{El: l.all[i].element()})
		}
	}
	q.Session.Send(q.Result(query))
	return nil, mod.ErrAnswered
}

// since returns the pushes that lead from the version that a client has to that of l, or whole where the client needs
// the whole roster or is served with fewer bytes by it (RFC 6121 §2.6.3).
func (x *extension) since(ctx context.Context, account jid.JID, l *items, have string) (diff []push, whole bool, err error) {
	v, err := strconv.ParseInt(have, 10, 64)
	if err != nil || v > l.ver || v < l.floor {
		return nil, true, nil // none, unknown, or too old
	}
	if v == l.ver {
		return nil, false, nil
	}
	for i := range l.all {
		if it := &l.all[i]; it.listed && it.ver > v {
			diff = append(diff, push{it.ver, it.element()})
		}
	}
	gone, err := x.removals(ctx, account, v)
	if err != nil {
		return nil, false, err
	}
	for _, r := range gone {
		diff = append(diff, push{r.ver, removed(r.jid)})
	}
	slices.SortFunc(diff, func(a, b push) int { return cmp.Compare(a.ver, b.ver) })
	return diff, pushWeight*len(diff) >= l.listed, nil
}

// push is one roster push (RFC 6121 §2.1.6).
type push struct {
	ver  int64
	item *xmlstream.Element
}

// stanza returns the push without an address. It tells the version to each resource, whether or not it asked for the
// roster by version: the first push may be where it begins to keep one (RFC 6121 §2.6.3).
func (p push) stanza() *stanza.Stanza {
	query := xmlstream.El(ns, "query", xmlstream.A("ver", strconv.FormatInt(p.ver, 10)), p.item)
	return stanza.NewIQ(stanza.TypeSet, jid.JID{}, jid.JID{}, query)
}

// push tells the interested resources of an account of a change.
func (x *extension) push(account jid.JID, p push) {
	var st *stanza.Stanza
	for _, s := range x.h.Sessions(account) {
		if s.Flag(interested) == "" {
			continue
		}
		if st == nil {
			st = p.stanza()
			st.Wire() // one encoding for all
		}
		s.Send(st.WithTo(s.JID()))
	}
}

// element returns the item as clients see it (RFC 6121 §2.1.2). It is built by hand: a login asks for all of them.
func (it *item) element() *xmlstream.Element {
	e := &xmlstream.Element{Name: xmlstream.Name{Space: ns, Local: "item"}, Attrs: make([]xmlstream.Attr, 2, 4)}
	e.Attrs[0] = xmlstream.A("jid", it.jid.String())
	e.Attrs[1] = xmlstream.A("subscription", it.state.subscription().String())
	if it.name != "" {
		e.Attrs = append(e.Attrs, xmlstream.A("name", it.name))
	}
	if it.state&bitOut != 0 {
		e.Attrs = append(e.Attrs, xmlstream.A("ask", "subscribe"))
	}
	if it.approved {
		e.Attrs = append(e.Attrs, xmlstream.A("approved", "true"))
	}
	if len(it.groups) > 0 {
		e.Nodes = make([]xmlstream.Node, len(it.groups))
		for i, g := range it.groups {
			e.Nodes[i].El = &xmlstream.Element{Name: xmlstream.Name{Space: ns, Local: "group"}, Nodes: []xmlstream.Node{{Text: g}}}
		}
	}
	return e
}

func removed(contact jid.JID) *xmlstream.Element {
	return xmlstream.El(ns, "item", xmlstream.A("jid", contact.String()), xmlstream.A("subscription", "remove"))
}

// set handles a roster set (RFC 6121 §2.3, §2.4, §2.5).
func (x *extension) set(ctx context.Context, q *mod.Request) (*xmlstream.Element, error) {
	if q.Session == nil || q.From.Bare() != q.Account {
		return nil, stanza.Err(stanza.Forbidden, "") // RFC 6121 §2.1.5
	}
	want, remove, bad := x.parse(q.Account, q.Payload)
	if bad != nil {
		return nil, bad
	}
	if remove {
		return nil, x.remove(ctx, q, want.jid)
	}
	defer x.locks.lock(q.Account)()
	l, err := x.load(ctx, q.Account)
	if err != nil {
		return nil, err
	}
	it, _ := l.find(want.jid)
	if !it.listed && l.listed >= x.cfg.MaxItems {
		return nil, x.full()
	}
	was := it
	// RFC 6121 §2.1.5: what a client says of subscription, ask or approved does not count.
	it.name, it.groups, it.listed = want.name, want.groups, true
	if l, err = x.commit(ctx, q.Account, l, edit{item: it, push: true}); err != nil {
		return nil, err
	}
	q.Session.Send(q.Result(nil))
	x.push(q.Account, push{l.ver, it.element()})
	x.changed(q.Account, was, it)
	return nil, mod.ErrAnswered
}

func (x *extension) full() *stanza.Error {
	return stanza.Errf(stanza.ResourceConstraint, "a roster has at most %d contacts", x.cfg.MaxItems)
}

// parse reads the one item of a roster set and tells whether it is to be removed.
func (x *extension) parse(account jid.JID, query *xmlstream.Element) (it item, remove bool, bad *stanza.Error) {
	var e *xmlstream.Element
	for k := range query.Elements() {
		if !k.Is(ns, "item") {
			continue
		}
		if e != nil {
			return it, false, stanza.Err(stanza.BadRequest, "a roster set has one item") // RFC 6121 §2.3.3
		}
		e = k
	}
	if e == nil {
		return it, false, stanza.Err(stanza.BadRequest, "a roster set has one item")
	}
	addr := e.Attr("jid")
	if addr == "" {
		return it, false, stanza.Err(stanza.BadRequest, "an item has a jid")
	}
	j, err := jid.Parse(addr)
	if err != nil {
		return it, false, stanza.Errf(stanza.JIDMalformed, "item: %v", err)
	}
	it.jid = j
	if e.Attr("subscription") == "remove" {
		return it, true, nil
	}
	if j.Bare() == account {
		// RFC 6121 §4.2.2: one is subscribed to oneself without an item.
		return it, false, stanza.Err(stanza.NotAllowed, "an account is not in its own roster")
	}
	if it.name = e.Attr("name"); len(it.name) > x.cfg.MaxText {
		return it, false, stanza.Errf(stanza.NotAcceptable, "a name has at most %d bytes", x.cfg.MaxText) // RFC 6121 §2.3.3
	}
	it.groups, bad = x.groups(e)
	return it, false, bad
}

// groups reads the groups of an item (RFC 6121 §2.3.3).
func (x *extension) groups(e *xmlstream.Element) ([]string, *stanza.Error) {
	var groups []string
	for k := range e.Elements() {
		if !k.Is(ns, "group") {
			continue
		}
		switch g := k.Text(); {
		case g == "":
			return nil, stanza.Err(stanza.NotAcceptable, "a group has a name")
		case len(g) > x.cfg.MaxText:
			return nil, stanza.Errf(stanza.NotAcceptable, "the name of a group has at most %d bytes", x.cfg.MaxText)
		case len(groups) == x.cfg.MaxGroups:
			return nil, stanza.Errf(stanza.NotAcceptable, "a contact is in at most %d groups", x.cfg.MaxGroups)
		case slices.Contains(groups, g):
			return nil, stanza.Err(stanza.BadRequest, "a contact is in a group once")
		default:
			groups = append(groups, g)
		}
	}
	return groups, nil
}

// remove takes an item out of the roster and ends the subscriptions in both directions (RFC 6121 §2.5.2). A request
// that waits in either direction ends, too.
func (x *extension) remove(ctx context.Context, q *mod.Request, contact jid.JID) error {
	l, err := x.items(ctx, q.Account)
	if err != nil {
		return err
	}
	it, _ := l.find(contact)
	if !it.listed {
		return stanza.Err(stanza.ItemNotFound, "") // RFC 6121 §2.5.3
	}
	// The other side is told first, so that the result says that both sides are done. Should we end in between, the
	// item is still there to be removed.
	x.end(ctx, q.Account, it)
	last, err := x.removeItem(ctx, q, contact)
	if err != nil {
		return err
	}
	if last.state != it.state { // it changed meanwhile
		x.end(ctx, q.Account, last)
	}
	return mod.ErrAnswered
}

// removeItem removes an item and returns it as it was.
func (x *extension) removeItem(ctx context.Context, q *mod.Request, contact jid.JID) (item, error) {
	defer x.locks.lock(q.Account)()
	l, err := x.load(ctx, q.Account)
	if err != nil {
		return item{}, err
	}
	it, _ := l.find(contact)
	if !it.listed {
		return item{}, stanza.Err(stanza.ItemNotFound, "")
	}
	if l, err = x.commit(ctx, q.Account, l, edit{item: it, gone: true, push: true}); err != nil {
		return item{}, err
	}
	// RFC 6121 §2.5.2 names the push before the result: who has the result has been told that the item is gone.
	x.push(q.Account, push{l.ver, removed(contact)})
	q.Session.Send(q.Result(nil))
	x.changed(q.Account, it, item{jid: it.jid})
	return it, nil
}
