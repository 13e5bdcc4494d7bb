package pep

import (
	"context"
	"slices"

	engine "sabir/engine/pubsub"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/bookmark"
	"sabir/xmpp/xmlstream"
)

// Two nodes hold the same bookmarks: one item with all (XEP-0048), and one item a room (XEP-0402). Only clients of the older kind keep pages
// of the web, only those of the newer one extensions; neither loses them by what the other writes.

// room is a bookmark of a room.
type room struct {
	jid string
	x   *xmlstream.Element // of the one form or the other
}

// rooms returns the rooms of the newer node, oldest first.
func (p *pep) rooms(ctx context.Context, account jid.JID) (list []room, err error) {
	err = p.s.Each(ctx, account, bookmark.NSItems, func(id string, x *xmlstream.Element) bool {
		list = append(list, room{id, x})
		return true
	})
	slices.Reverse(list)
	return list, err
}

// followNew collates the items of the newer node into the one item of the older (XEP-0402#publishing).
func (p *pep) followNew(ctx context.Context, account jid.JID, c engine.Changed) (engine.Followed, error) {
	list, err := p.rooms(ctx, account)
	if err != nil {
		return engine.Followed{}, err
	}
	at := slices.IndexFunc(list, func(r room) bool { return r.jid == c.ID })
	switch {
	case c.ID == "":
		list = nil
	case c.Payload == nil && at >= 0:
		list = slices.Delete(list, at, at+1)
	case c.Payload == nil:
	case at >= 0:
		list[at].x = c.Payload
	default:
		list = append(list, room{c.ID, c.Payload})
	}
	_, was, err := p.s.Item(ctx, account, bookmark.NSList, "")
	if err != nil {
		return engine.Followed{}, err
	}
	now := xmlstream.El(bookmark.NSList, "storage")
	for k := range was.Elements() {
		if !k.Is(bookmark.NSList, "conference") {
			now.Add(k)
		}
	}
	for _, r := range list {
		if r.x.Is(bookmark.NSItems, "conference") {
			now.Add(bookmark.Listed(r.jid, r.x))
		}
	}
	if now.Equal(tidy(was)) {
		return engine.Followed{}, nil
	}
	return engine.Followed{Changes: []mod.NodeChange{{Node: bookmark.NSList, ID: "current", Payload: now, Private: true}}}, nil
}

// tidy returns an element without the white space around its children.
func tidy(x *xmlstream.Element) *xmlstream.Element {
	if x == nil {
		return nil
	}
	c := &xmlstream.Element{Name: x.Name, Attrs: x.Attrs}
	for k := range x.Elements() {
		if k.Is(bookmark.NSList, "conference") {
			k = bookmark.Listed(k.Attr("jid"), k)
		}
		c.Add(k)
	}
	return c
}

// followOld updates the items of the newer node by the list that a client of the older kind has written. What did not change
// is not told again (XEP-0402#publishing-legacy). Where the list as such is deleted, the items stay: clients that are new do so.
func (p *pep) followOld(ctx context.Context, account jid.JID, c engine.Changed) (engine.Followed, error) {
	if !c.Payload.Is(bookmark.NSList, "storage") {
		return engine.Followed{}, nil
	}
	list, err := p.rooms(ctx, account)
	if err != nil {
		return engine.Followed{}, err
	}
	var out engine.Followed
	seen := make(map[string]bool)
	for k := range c.Payload.Elements() {
		id, ok := bookmark.Room(k)
		if !ok || seen[id] {
			continue
		}
		seen[id] = true
		now := bookmark.Item(k)
		if at := slices.IndexFunc(list, func(r room) bool { return r.jid == id }); at >= 0 {
			if bookmark.Item(list[at].x).Equal(now) {
				continue
			}
			now.Add(list[at].x.Child(bookmark.NSItems, "extensions"))
		}
		out.Changes = append(out.Changes, mod.NodeChange{Node: bookmark.NSItems, ID: id, Payload: now, Private: true, Many: true})
	}
	for _, r := range list {
		if !seen[r.jid] {
			out.Changes = append(out.Changes, mod.NodeChange{Node: bookmark.NSItems, ID: r.jid, Private: true, Many: true})
		}
	}
	return out, nil
}
