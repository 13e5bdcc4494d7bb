package muc

import (
	"context"
	"slices"
	"strconv"

	"sabir/engine/room"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/dataform"
	"sabir/xmpp/payload/disco"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// userItem is the node by which users ask for their reserved nick (XEP-0045#reservednick).
const userItem = "x-roomuser-item"

// info tells about the service (XEP-0045#disco-service-features) or a room.
func (m *muc) info(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	node := r.Payload.Attr("node")
	if node != "" && node != userItem {
		if !r.Account.IsZero() { // only of a room that is there
			if err := m.inExisting(ctx, r.Account, func(*turn) error { return nil }); err != nil {
				return nil, err
			}
		}
		if d, err := m.adhoc.Info(ctx, r.To.Bare(), r.From, node); d != nil || err != nil {
			if err != nil {
				return nil, err
			}
			return d.Info(node).Element(), nil
		}
	}
	if !r.Account.IsZero() {
		return m.inRoom((*chat).info)(ctx, r)
	}
	if node != "" {
		return nil, stanza.Err(stanza.ItemNotFound, "no such node")
	}
	return m.svc.Disco(mod.AtHost).Info("").Element(), nil
}

// info tells about a room (XEP-0045#disco-roominfo).
func (c *chat) info(t *turn, r *mod.Request) (*xmlstream.Element, error) {
	if !c.exists && !c.locked {
		return nil, errNoRoom()
	}
	switch node := r.Payload.Attr("node"); node {
	case "":
	case userItem:
		return c.reservedNick(r.From.Bare()), nil
	case nsMUC + "#traffic":
		return nil, stanza.Err(stanza.FeatureNotImplemented, "everything is let through") // XEP-0045#impl-service-traffic
	default:
		return nil, stanza.Err(stanza.ItemNotFound, "no such node")
	}
	d := c.m.svc.Disco(mod.AtAccount)
	d.Identities = append(d.Identities, mod.Identity{Category: "conference", Type: "text", Name: c.name()})
	d.Features = append(d.Features, c.features()...)
	slices.Sort(d.Features)
	d.Forms = append(d.Forms, c.roomInfo().Element())
	return d.Info("").Element(), nil
}

// name is what people call the room.
func (c *chat) name() string {
	if c.cfg.Name != "" {
		return c.cfg.Name
	}
	return c.jid.Local()
}

// features are those of the type of the room (XEP-0045#registrar-features).
func (c *chat) features() []string {
	pick := func(b bool, yes, no string) string {
		if b {
			return yes
		}
		return no
	}
	return []string{
		pick(c.cfg.Protected, "muc_passwordprotected", "muc_unsecured"),
		pick(c.cfg.Hidden, "muc_hidden", "muc_public"),
		pick(c.cfg.Persistent, "muc_persistent", "muc_temporary"),
		pick(c.cfg.MembersOnly, "muc_membersonly", "muc_open"),
		pick(c.cfg.Moderated, "muc_moderated", "muc_unmoderated"),
		pick(c.cfg.NonAnonymous, "muc_nonanonymous", "muc_semianonymous"),
	}
}

// roomInfo is the form of muc#roominfo (XEP-0045#registrar-formtype-roominfo).
func (c *chat) roomInfo() *dataform.Form {
	f := dataform.New(dataform.TypeResult, formInfo)
	add := func(name string, t dataform.FieldType, label string, values ...string) {
		if len(values) > 0 && values[0] != "" {
			f.Fields = append(f.Fields, dataform.Field{Var: name, Type: t, Label: label, Values: values})
		}
	}
	add("muc#roominfo_description", dataform.TextSingle, "Description", c.cfg.Description)
	add("muc#roominfo_lang", dataform.TextSingle, "Language of the discussion", c.cfg.Lang)
	add("muc#roominfo_contactjid", dataform.JIDMulti, "Contacts", c.cfg.Contacts...)
	if c.subject != nil {
		add("muc#roominfo_subject", dataform.TextSingle, "Subject", c.subject.Child(stanza.NSClient, "subject").Text())
	}
	add("muc#roominfo_subjectmod", dataform.Boolean, "Participants change the subject", yes(c.cfg.ChangeSubject)...)
	add(cfgPrefix+"changesubject", dataform.Boolean, "Participants change the subject", yes(c.cfg.ChangeSubject)...)
	add("muc#roominfo_occupants", dataform.TextSingle, "Occupants", strconv.Itoa(len(c.occupants)))
	add("muc#maxhistoryfetch", dataform.TextSingle, "Messages that who enters is sent", strconv.Itoa(c.cfg.History))
	add(cfgPrefix+"roomname", dataform.TextSingle, "Name", c.cfg.Name)
	add(cfgPrefix+"pubsub", dataform.TextSingle, "PubSub node", c.cfg.PubSub)
	if c.picture != "" { // XEP-0486#disco-avatar-hash
		add("muc#roominfo_avatarhash", dataform.TextMulti, "Hash of the picture", c.picture)
	}
	add("{urn:xmpp:muc-activity}message-activity", dataform.TextSingle, "Messages per hour", c.messagesPerHour()) // XEP-0502#retrieve
	add("hats#hash", dataform.TextSingle, "Hats hash", c.hats.hash())                                             // XEP-0317#disco
	for _, k := range mentionSettings() {                                                                         // XEP-0513#permissions
		add(k.field.Var, k.field.Type, k.field.Label, k.get(&c.cfg)...)
	}
	if c.cfg.Slow > 0 {
		add(cfgPrefix+"slow_mode_duration", dataform.TextSingle, "Seconds between two messages", strconv.Itoa(c.cfg.Slow))
	}
	return f
}

// reservedNick tells users which nick is theirs (XEP-0045#reservednick).
func (c *chat) reservedNick(user jid.JID) *xmlstream.Element {
	i := &disco.Info{Node: userItem}
	if nick := c.associates[user].nick; nick != "" {
		i.Identities = []disco.Identity{{Category: "conference", Type: "text", Name: nick}}
	}
	return i.Element()
}

// items lists the public rooms of the service (XEP-0045#disco-rooms), or the occupants of a room (XEP-0045#disco-roomitems): to
// who is in it, and to others where it is listed and open to them.
func (m *muc) items(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	if node := r.Payload.Attr("node"); node != "" {
		list, ok, err := m.adhoc.Items(ctx, r.To.Bare(), r.From, node)
		if err == nil && !ok {
			err = stanza.Err(stanza.ItemNotFound, "no such node")
		}
		if err != nil {
			return nil, err
		}
		q := &disco.Items{Node: node}
		for _, i := range list {
			q.Items = append(q.Items, disco.Item(i))
		}
		return q.Element(), nil
	}
	if r.Account.IsZero() {
		return m.listRooms(ctx, r.Payload, m.admin(r.From.Bare()))
	}
	return m.inRoom(func(c *chat, _ *turn, r *mod.Request) (*xmlstream.Element, error) {
		if !c.here() {
			return nil, errNoRoom()
		}
		list := &disco.Items{}
		at := c.seats[r.From]
		if at != nil || c.openTo(r.From.Bare()) {
			for _, o := range c.occupants {
				if c.cfg.Broadcasts(o.Role) || at != nil && at.Role == room.Moderator {
					list.Items = append(list.Items, disco.Item{JID: o.jid})
				}
			}
		}
		return list.Element(), nil
	})(ctx, r)
}

// openTo tells whether a user could walk in and see who is there: what such a room tells to who asks is public.
func (c *chat) openTo(user jid.JID) bool {
	return !c.locked && !c.cfg.Hidden && !c.cfg.MembersOnly && !c.cfg.Protected && c.affiliation(user) != room.Outcast
}

// unique gives a name that no room has (XEP-0307).
func (m *muc) unique(context.Context, *mod.Request) (*xmlstream.Element, error) {
	// An id of 96 random bits; a room's name has no upper case.
	j, err := jid.New(stanza.NewID(), m.svc.Domain.Domain(), "")
	if err != nil {
		return nil, err
	}
	return xmlstream.El(nsUnique, "unique", j.Local()), nil
}

// maxPage is how many rooms are listed at once.
const maxPage = 200

// listRooms pages through the public rooms, or through all (XEP-0059).
func (m *muc) listRooms(ctx context.Context, q *xmlstream.Element, hidden bool) (*xmlstream.Element, error) {
	set := q.Child(nsRSM, "set")
	limit := maxPage
	if v := set.ChildText(nsRSM, "max"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return nil, stanza.Err(stanza.BadRequest, "max is a number that is not negative")
		}
		limit = min(n, maxPage)
	}
	before := set.Child(nsRSM, "before")
	list, err := m.store.page(ctx, m.svc.Domain, hidden, set.ChildText(nsRSM, "after"), before.Text(), before != nil, limit)
	if err != nil {
		return nil, err
	}
	if before != nil {
		slices.Reverse(list)
	}
	items := &disco.Items{}
	for _, l := range list {
		name := l.name
		if name == "" {
			name = l.jid.Local()
		}
		items.Items = append(items.Items, disco.Item{JID: l.jid, Name: name})
	}
	answer := items.Element()
	first := ""
	if len(list) > 0 {
		first = list[0].jid.String()
	}
	all, index, err := m.store.listed(ctx, m.svc.Domain, hidden, first)
	if err != nil {
		return nil, err
	}
	if set == nil && all <= len(list) {
		return answer, nil
	}
	page := xmlstream.El(nsRSM, "set")
	if len(list) > 0 {
		page.Add(xmlstream.El(nsRSM, "first", xmlstream.A("index", strconv.Itoa(index)), first),
			xmlstream.El(nsRSM, "last", list[len(list)-1].jid.String()))
	}
	return answer.Add(page.Add(xmlstream.El(nsRSM, "count", strconv.Itoa(all)))), nil
}
