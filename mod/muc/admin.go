package muc

import (
	"slices"

	"sabir/engine/room"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// maxItems bounds the changes of one request.
const maxItems = 500

// adminGet returns a list: all of an affiliation, or the occupants of a role (XEP-0045#modifyban, #modifyvoice and others).
func (c *chat) adminGet(t *turn, r *mod.Request) (*xmlstream.Element, error) {
	if !c.exists && !c.locked {
		return nil, errNoRoom()
	}
	ask := r.Payload.Child(nsAdmin, "item")
	if ask == nil {
		return nil, stanza.Err(stanza.BadRequest, "a query has an item with an affiliation or a role")
	}
	who := c.standing(r.From.Bare())
	if name := ask.Attr("affiliation"); name != "" {
		a, err := room.ParseAffiliation(name)
		if err != nil || a == room.None {
			return nil, stanza.Err(stanza.BadRequest, "there is no such list")
		}
		if !c.mayList(who, a) {
			return nil, stanza.Err(stanza.Forbidden, "you may not see this list")
		}
		return c.listAffiliation(a), nil
	}
	role, err := room.ParseRole(ask.Attr("role"))
	if err != nil || role == room.NoRole {
		return nil, stanza.Err(stanza.BadRequest, "there is no such list")
	}
	// XEP-0045#modifymod: the list of moderators is for admins.
	if who.Role < room.Moderator && who.Affiliation < room.Admin || role == room.Moderator && who.Affiliation < room.Admin {
		return nil, stanza.Err(stanza.Forbidden, "you may not see this list")
	}
	return c.listRole(role), nil
}

// mayList tells who may read which list (XEP-0045#affil-priv, #modifymember, #modifyowner, #modifyadmin).
func (c *chat) mayList(who room.Standing, a room.Affiliation) bool {
	switch {
	case who.Affiliation == room.Owner:
		return true
	case a == room.Outcast:
		return who.Affiliation >= room.Admin
	case c.cfg.MemberLists != nil && slices.Contains(c.cfg.MemberLists, who.Role.String()):
		return true
	case a == room.Member:
		return who.Affiliation >= room.Admin ||
			c.cfg.NonAnonymous && c.cfg.MemberLists == nil && (who.Affiliation == room.Member || c.cfg.MembersOnly && who.Role > room.NoRole)
	}
	return c.cfg.NonAnonymous && who.Affiliation >= room.Member
}

func (c *chat) listAffiliation(a room.Affiliation) *xmlstream.Element {
	q := xmlstream.El(nsAdmin, "query")
	var all []jid.JID
	for j, x := range c.associates {
		if x.affiliation == a {
			all = append(all, j)
		}
	}
	slices.SortFunc(all, jid.JID.Compare)
	for _, j := range all {
		x := c.associates[j]
		q.Add(item{affiliation: a, noRole: true, jid: j, nick: x.nick, reason: x.reason}.element(nsAdmin))
	}
	return q
}

func (c *chat) listRole(role room.Role) *xmlstream.Element {
	q := xmlstream.El(nsAdmin, "query")
	for _, o := range c.occupants {
		if o.Role == role {
			q.Add(item{affiliation: o.Affiliation, role: role, jid: o.seats[len(o.seats)-1].full, nick: o.nick}.element(nsAdmin))
		}
	}
	return q
}

// change is one item of a request that was understood.
type change struct {
	move
	o    *occupant // whose role, or nil
	role room.Role
	why  string
}

// adminSet changes affiliations and roles: all or none (XEP-0045#modifyban).
func (c *chat) adminSet(t *turn, r *mod.Request) (*xmlstream.Element, error) {
	if !c.exists && !c.locked {
		return nil, errNoRoom()
	}
	changes, err := c.readChanges(r)
	if err != nil {
		return nil, err
	}
	by := item{actor: c.actor(r.From)}
	var moves []move
	for _, k := range changes {
		if k.o == nil {
			moves = append(moves, k.move)
		}
	}
	if len(moves) > 0 {
		if err := c.storeAffiliations(t, moves...); err != nil {
			return nil, err
		}
		t.answer() // who changes a list is told before the others (XEP-0045#grantowner)
	}
	for _, k := range changes {
		by.reason = k.why
		switch {
		case k.o == nil:
			c.applyAffiliation(t, k.move, by)
		case len(k.o.seats) == 0: // removed by an item before
		case k.role == room.NoRole:
			c.remove(t, k.o, k.o.Affiliation, by, kicked)
		default:
			if t.answer != nil {
				t.answer()
			}
			c.role(t, k.o, room.Standing{Affiliation: k.o.Affiliation, Role: k.role}, by)
		}
	}
	return nil, c.closeIfEmpty(t)
}

// actor is the nick by which an occupant knows who did something (XEP-0045#kick): addresses are not told.
func (c *chat) actor(from jid.JID) string {
	if at := c.seats[from]; at != nil {
		return at.nick
	}
	for _, o := range c.of(from.Bare()) {
		return o.nick
	}
	return ""
}

// readChanges checks the items of a request, each against what the sender may do, and the owners that remain.
func (c *chat) readChanges(r *mod.Request) (all []change, err error) {
	actor := c.standing(r.From.Bare())
	owners := len(c.owners())
	for x := range r.Payload.Elements() {
		if !x.Is(nsAdmin, "item") {
			continue
		}
		if len(all) == maxItems {
			return nil, stanza.Errf(stanza.PolicyViolation, "a request has at most %d items", maxItems)
		}
		k := change{why: x.ChildText(nsAdmin, "reason")}
		a, role := x.Attr("affiliation"), x.Attr("role")
		switch {
		case a != "" && role != "", a == "" && role == "": // XEP-0045#modifymember
			err = stanza.Err(stanza.BadRequest, "an item has either an affiliation or a role")
		case a != "":
			err = c.readAffiliation(&k, x, actor, r.From.Bare(), &owners)
		default:
			err = c.readRole(&k, x, actor, r.From)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, k)
	}
	if len(all) == 0 {
		return nil, stanza.Err(stanza.BadRequest, "a request has an item")
	}
	return all, nil
}

func (c *chat) readAffiliation(k *change, x *xmlstream.Element, actor room.Standing, from jid.JID, owners *int) error {
	a, err := room.ParseAffiliation(x.Attr("affiliation"))
	if err != nil {
		return stanza.Err(stanza.BadRequest, err.Error())
	}
	nick, named := x.LookupAttr(xmlstream.Name{Local: "nick"})
	if v := x.Attr("jid"); v != "" {
		j, err := jid.Parse(v)
		if err != nil {
			return stanza.Err(stanza.JIDMalformed, "the address in an item is none")
		}
		k.who = j.Bare() // XEP-0045#grantowner
	} else if o := c.nicks[nickKey(nick)]; named && o != nil && o.nick == nick { // XEP-0045#ban: by the nick, of old
		k.who = o.user
		nick, named = "", false
	} else {
		return stanza.Err(stanza.ItemNotFound, "an item names somebody by address, or by the nick of an occupant")
	}
	was, had := c.associates[k.who]
	last := was.affiliation == room.Owner && *owners == 1
	if e := room.ChangeAffiliation(actor.Affiliation, was.affiliation, a, k.who == from, last); e != nil {
		return e
	}
	if a >= room.Member && k.who.Local() == "" {
		return stanza.Err(stanza.NotAllowed, "a whole domain can be banned, and nothing else")
	}
	*owners += int(bit(a == room.Owner)) - int(bit(had && was.affiliation == room.Owner))
	k.associate = associate{affiliation: a, nick: was.nick, reason: k.why}
	if named {
		if nick != "" && !goodNick(nick) {
			return stanza.Err(stanza.NotAcceptable, "a nick shows something and is not too long")
		}
		if nick != "" && c.reservedFor(nick, k.who) {
			return stanza.Err(stanza.Conflict, "this nick is reserved for somebody else")
		}
		k.nick = nick
	}
	if a == room.Outcast { // XEP-0045#ban
		k.nick = ""
	}
	return nil
}

func (c *chat) readRole(k *change, x *xmlstream.Element, actor room.Standing, from jid.JID) error {
	role, err := room.ParseRole(x.Attr("role"))
	if err != nil {
		return stanza.Err(stanza.BadRequest, err.Error())
	}
	nick := x.Attr("nick")
	if nick == "" {
		return stanza.Err(stanza.BadRequest, "a role belongs to a nick")
	}
	// Who may not change roles learns nothing of who is there.
	if actor.Role != room.Moderator && actor.Affiliation < room.Admin {
		return stanza.Err(stanza.Forbidden, "only moderators change roles")
	}
	o := c.nicks[nickKey(nick)]
	if o == nil || o.nick != nick {
		return stanza.Err(stanza.ItemNotFound, "there is no such occupant")
	}
	k.o, k.role = o, role
	if e := room.ChangeRole(actor, o.Standing, role, o == c.occupantAt(from)); e != nil {
		return e
	}
	return nil
}

// occupantAt returns the occupant of a client, or nil.
func (c *chat) occupantAt(full jid.JID) *occupant {
	if at := c.seats[full]; at != nil {
		return at.occupant
	}
	return nil
}
