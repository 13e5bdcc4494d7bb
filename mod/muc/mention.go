package muc

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"sabir/engine/room"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/dataform"
	"sabir/xmpp/payload/delay"
	"sabir/xmpp/payload/forward"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// The namespaces of mentions: explicit ones (XEP-0513), references (XEP-0372), and notifications about them (XEP-0452).
const (
	nsMention   = "urn:xmpp:mentions:0"
	nsReference = "urn:xmpp:reference:0"
	nsNotify    = "urn:xmpp:mmn:0"
)

// mentionSettings are the fields that say who may mention whom (XEP-0513#permissions).
func mentionSettings() []setting {
	who := func(name, label string, at func(m *room.Mentions) *room.Who) setting {
		return setting{
			dataform.Field{Var: "mentions#" + name, Type: dataform.ListSingle, Label: label, Required: true, Options: []dataform.Option{
				{Label: "Participants", Value: string(room.Participants)}, {Label: "Moderators Only", Value: string(room.Moderators)}, {Label: "Nobody", Value: string(room.Nobody)},
			}},
			func(c *room.Config) []string { return []string{string(cmp.Or(*at(&c.Mentions), room.Participants))} },
			func(c *room.Config, f *dataform.Field) { *at(&c.Mentions) = room.Who(f.Value()) },
		}
	}
	count := number("mentions#count", "How many mentions are allowed in a message?", func(c *room.Config) *int { return &c.Mentions.Count })
	count.field.Required = true
	count.get = func(c *room.Config) []string { return []string{strconv.Itoa(c.Mentions.Most())} }
	return []setting{
		count,
		who("individual", "Who can mention individual users?", func(m *room.Mentions) *room.Who { return &m.Individual }),
		who("channel", "Who can mention rooms?", func(m *room.Mentions) *room.Who { return &m.Channel }),
		who("associations", "Who can mention roles/affiliations?", func(m *room.Mentions) *room.Who { return &m.Associations }),
		who("hats", "Who can mention hats?", func(m *room.Mentions) *room.Who { return &m.Hats }),
	}
}

func (c *chat) mentionForm(t dataform.Type) *dataform.Form {
	f := dataform.New(t, nsMention)
	f.Title = "Permissions for Explicit Mentions"
	for _, s := range mentionSettings() {
		s.field.Values = s.get(&c.cfg)
		f.Fields = append(f.Fields, s.field)
	}
	return f
}

// mentionsGet tells who may mention whom, to those who may know of the room.
func (c *chat) mentionsGet(_ *turn, r *mod.Request) (*xmlstream.Element, error) {
	switch {
	case !c.exists && !c.locked:
		return nil, errNoRoom()
	case c.affiliation(r.From.Bare()) == room.Outcast:
		return nil, stanza.Err(stanza.Forbidden, "you are banned from this room")
	}
	return xmlstream.El(nsMention, "query", c.mentionForm(dataform.TypeForm).Element()), nil
}

// mentionsSet changes it, and tells the occupants what has changed.
func (c *chat) mentionsSet(t *turn, r *mod.Request) (*xmlstream.Element, error) {
	if err := c.owned(r.From); err != nil {
		return nil, err
	}
	if c.locked {
		return nil, stanza.Err(stanza.NotAllowed, "configure the room first")
	}
	x := r.Payload.Child(dataform.NS, "x")
	if x == nil {
		return nil, stanza.Err(stanza.BadRequest, "a form is missing")
	}
	f, err := dataform.Parse(x)
	if err != nil {
		return nil, stanza.Err(stanza.BadRequest, err.Error())
	}
	if f.Type == dataform.TypeCancel {
		return nil, nil
	}
	form := c.mentionForm(dataform.TypeForm)
	for i := range form.Fields {
		form.Fields[i].Required = false // what is left out stays as it is
	}
	s, err := form.Submit(f)
	if err != nil {
		return nil, err
	}
	k := c.kept
	changed := dataform.New(dataform.TypeResult, nsMention)
	changed.Title = "Updated configuration for Explicit Mention Permissions"
	for _, set := range mentionSettings() {
		if field := s.Field(set.field.Var); field != nil && !slices.Equal(field.Values, set.get(&c.cfg)) {
			set.set(&k.cfg, field)
			changed.Fields = append(changed.Fields, dataform.Field{Var: field.Var, Type: field.Type, Values: field.Values})
		}
	}
	if err := k.cfg.Validate(); err != nil {
		return nil, stanza.Err(stanza.NotAcceptable, err.Error())
	}
	if same(k.cfg, c.cfg) {
		return nil, nil
	}
	if err := t.write(func(tx mod.Tx) error { return c.m.store.put(t.ctx, tx, c.m.svc.Domain, c.jid, k) }); err != nil {
		return nil, err
	}
	c.cfg = k.cfg
	t.answer()
	m := stanza.New(stanza.Message, stanza.TypeGroupchat, changed.Element())
	m.ID, m.From = stanza.NewID(), c.jid
	c.toAll(t, m)
	return nil, nil
}

// mentioned returns the associates that a message of an occupant mentions by name and that are not in the room. Groups are of those who
// are in (XEP-0513#groups), so nobody else is told of them.
func (c *chat) mentioned(s *stanza.Stanza, by *occupant) (all []jid.JID) {
	if !s.Has(nsMention, "mention") && !s.Has(nsReference, "reference") {
		return nil
	}
	count, ids := 0, map[string]jid.JID(nil)
	add := func(who jid.JID) {
		if who = who.Bare(); c.associates[who].affiliation >= room.Member && len(c.of(who)) == 0 && !slices.Contains(all, who) {
			all = append(all, who)
		}
	}
	for x := range s.Children() {
		switch {
		case x.Is(nsMention, "mention"):
			if count++; x.Child(nsMention, "noping") != nil || x.Child(nsMention, "active") != nil || x.Attr("mentions") != "" {
				continue
			}
			if id := x.Attr("occupantid"); id != "" {
				if ids == nil {
					ids = c.occupantIDs()
				}
				add(ids[id])
			} else if j, err := jid.Parse(x.Attr("jid")); err == nil {
				add(j)
			}
		case x.Is(nsReference, "reference") && x.Attr("type") == "mention":
			count++
			address, _, _ := strings.Cut(strings.TrimPrefix(x.Attr("uri"), "xmpp:"), "?")
			if j, err := jid.Parse(address); err == nil {
				if j.Bare() == c.jid { // by the nick, where it is reserved
					j = c.reserver(j.Resource())
				}
				add(j)
			}
		}
	}
	if count > c.cfg.Mentions.Most() || !cmp.Or(c.cfg.Mentions.Individual, room.Participants).Allows(by.Role) {
		return nil
	}
	return all
}

// occupantIDs are the ids under which the members of the room are known (XEP-0421).
func (c *chat) occupantIDs() map[string]jid.JID {
	ids := make(map[string]jid.JID)
	for who, a := range c.associates {
		if a.affiliation >= room.Member {
			ids[c.m.occupantID(c.jid, who)] = who
		}
	}
	return ids
}

// reserver returns who has reserved a nick, or the zero JID.
func (c *chat) reserver(nick string) jid.JID {
	key := nickKey(nick)
	for who, a := range c.associates {
		if a.nick != "" && nickKey(a.nick) == key {
			return who
		}
	}
	return jid.JID{}
}

// forward forwards a message to members who are mentioned and not here, where the owner has chosen so (XEP-0452). It is for their
// archive and their devices that sleep.
func (c *chat) forward(t *turn, r *said) {
	var away []jid.JID
	for _, who := range r.absence.mentioned {
		if c.forwards(who) {
			away = append(away, who)
		}
	}
	if len(away) == 0 {
		return
	}
	if m := c.mentionOf(r.s); m != nil {
		t.send(m, away...)
	}
}

// mentionOf is the message that carries another to those whom it mentions, or nil (XEP-0452#usecases).
func (c *chat) mentionOf(s *stanza.Stanza) *stanza.Stanza {
	in := s.Clone()
	in.To = c.jid
	f := forward.Forwarded{Delay: &delay.Delay{Stamp: c.m.h.Clock().Now()}, Stanza: in}
	m, err := f.Message(stanza.TypeNormal, c.jid, xmlstream.Name{Space: nsNotify, Local: "mentions"})
	if err != nil {
		c.m.h.Log().Warn("a mention is not forwarded", "room", c.jid.String(), "error", err)
		return nil
	}
	m.ID = stanza.NewID()
	m.Add(xmlstream.El(nsHints, "store")) // an account's archive takes what has no body of its own by this
	return m
}
