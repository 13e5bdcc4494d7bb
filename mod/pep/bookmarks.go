package pep

import (
	"context"
	"slices"

	engine "sabir/engine/pubsub"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/xmlstream"
)

// The nodes of bookmarks, which are also the namespaces of what they hold: one item with all (XEP-0048), and one item a room
// (XEP-0402). Both hold the same rooms. Only clients of the older kind keep pages of the Web, only those of the newer one
// extensions; neither loses them by what the other writes.
const (
	bookmarksOld = "storage:bookmarks"
	bookmarksNew = "urn:xmpp:bookmarks:1"
)

// room is a bookmark of a room.
type room struct {
	jid string
	x   *xmlstream.Element // of the one form or the other
}

// rooms returns the rooms of the newer node, oldest first.
func (p *pep) rooms(ctx context.Context, account jid.JID) (list []room, err error) {
	err = p.s.Each(ctx, account, bookmarksNew, func(id string, x *xmlstream.Element) bool {
		list = append(list, room{id, x})
		return true
	})
	slices.Reverse(list)
	return list, err
}

// conference returns a bookmark of the namespace from in the namespace to, without what the two do not share.
func conference(x *xmlstream.Element, from, to string, attrs ...xmlstream.Attr) *xmlstream.Element {
	out := xmlstream.El(to, "conference")
	for _, a := range attrs {
		out.Add(a)
	}
	for _, name := range []string{"name", "autojoin"} {
		if v, ok := x.LookupAttr(xmlstream.Name{Local: name}); ok {
			out.Add(xmlstream.A(name, v))
		}
	}
	for _, name := range []string{"nick", "password"} {
		if k := x.Child(from, name); k != nil {
			out.Add(xmlstream.El(to, name, k.Text()))
		}
	}
	return out
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
	_, was, err := p.s.Item(ctx, account, bookmarksOld, "")
	if err != nil {
		return engine.Followed{}, err
	}
	now := xmlstream.El(bookmarksOld, "storage")
	for k := range was.Elements() {
		if !k.Is(bookmarksOld, "conference") {
			now.Add(k)
		}
	}
	for _, r := range list {
		if r.x.Is(bookmarksNew, "conference") {
			now.Add(conference(r.x, bookmarksNew, bookmarksOld, xmlstream.A("jid", r.jid)))
		}
	}
	if now.Equal(tidy(was)) {
		return engine.Followed{}, nil
	}
	return engine.Followed{Changes: []mod.NodeChange{{Node: bookmarksOld, ID: "current", Payload: now, Private: true}}}, nil
}

// tidy returns an element without the white space around its children.
func tidy(x *xmlstream.Element) *xmlstream.Element {
	if x == nil {
		return nil
	}
	c := &xmlstream.Element{Name: x.Name, Attrs: x.Attrs}
	for k := range x.Elements() {
		if k.Is(bookmarksOld, "conference") {
			k = conference(k, bookmarksOld, bookmarksOld, xmlstream.A("jid", k.Attr("jid")))
		}
		c.Add(k)
	}
	return c
}

// followOld updates the items of the newer node by the list that a client of the older kind has written. What did not change
// is not told again (XEP-0402#publishing-legacy). Where the list as such is deleted, the items stay: clients that are new do so.
func (p *pep) followOld(ctx context.Context, account jid.JID, c engine.Changed) (engine.Followed, error) {
	if !c.Payload.Is(bookmarksOld, "storage") {
		return engine.Followed{}, nil
	}
	list, err := p.rooms(ctx, account)
	if err != nil {
		return engine.Followed{}, err
	}
	var out engine.Followed
	seen := make(map[string]bool)
	for k := range c.Payload.Elements() {
		j, err := jid.Parse(k.Attr("jid"))
		if err != nil || !k.Is(bookmarksOld, "conference") || seen[j.String()] {
			continue
		}
		id := j.String()
		seen[id] = true
		now := conference(k, bookmarksOld, bookmarksNew)
		if at := slices.IndexFunc(list, func(r room) bool { return r.jid == id }); at >= 0 {
			if conference(list[at].x, bookmarksNew, bookmarksNew).Equal(now) {
				continue
			}
			now.Add(list[at].x.Child(bookmarksNew, "extensions"))
		}
		out.Changes = append(out.Changes, mod.NodeChange{Node: bookmarksNew, ID: id, Payload: now, Private: true, Many: true})
	}
	for _, r := range list {
		if !seen[r.jid] {
			out.Changes = append(out.Changes, mod.NodeChange{Node: bookmarksNew, ID: r.jid, Private: true, Many: true})
		}
	}
	return out, nil
}
